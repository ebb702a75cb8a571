"""Servers under load, each with its client, in one tree: redis, postgres, nginx."""

from programs import Program, shell

SUITES = [
    Program("redis", shell("redis.sh"), 15),
    Program("postgres", shell("postgres.sh"), 25),
    Program("nginx", shell("nginx.sh"), 10),
]
