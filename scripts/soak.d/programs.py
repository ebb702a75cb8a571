"""Programs of our own that use a runtime hard, and suites that others install with their package."""

import json
import os
import shutil

from compare import Outcome
import runs

HERE = os.path.dirname(os.path.realpath(__file__))
# Programs of root's that a test calls are not always on a user's path.
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def find(name):
    """A program of Debian's, else the first on the path: a version manager's script is not the program."""
    return shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin:" + PATH) or name


def read_lines(text):
    """The cases in what a program printed: lines of `case NAME: OUTCOME`."""
    cases = {}
    for line in text.splitlines():
        if line.startswith("case ") and ": " in line:
            name, outcome = line[5:].split(": ", 1)
            cases[name] = outcome
    return cases


class Program:
    """A command that prints its cases, and must end with 0."""

    def __init__(self, name, command, seconds, prepare=None, env=None):
        self.name, self.command, self.seconds, self.prepare, self.env = name, command, seconds, prepare, env or {}

    def run(self, work, label, mode):
        place = os.path.join(work, self.name, label)
        if self.prepare:
            self.prepare(os.path.join(work, self.name))
        ended = runs.run(self.command(place), mode, place, 120 + 10 * self.seconds,
                         env={**os.environ, "PATH": PATH, "LC_ALL": "C", **self.env})
        cases, troubles = read_lines(ended.text), ended.troubles
        if ended.code != 0:
            troubles.append(f"exit code {ended.code}; output ends: {ended.text[-600:]}")
        return Outcome(cases, troubles, ended.injected, ended.followed, ended.seconds)


class Unittests:
    """Modules of unittest that a Debian package of Python has installed."""

    def __init__(self, name, modules, seconds, left_out):
        self.name, self.modules, self.seconds, self.left_out = name, modules, seconds, left_out

    def run(self, work, label, mode):
        place = os.path.join(work, self.name, label)
        report = os.path.join(place, "report.json")
        command = ["/usr/bin/python3", os.path.join(HERE, "unittests.py"), report, *self.modules]
        ended = runs.run(command, mode, place, 120 + 6 * self.seconds)
        cases, troubles = {}, ended.troubles
        if os.path.exists(report):
            with open(report, encoding="utf-8") as file:
                ended_so = json.load(file)
            cases = {case: outcome for case, outcome in ended_so.items() if case.split(".")[-1] not in self.left_out}
        else:
            troubles.append(f"no report; exit code {ended.code}")
        return Outcome(cases, troubles, ended.injected, ended.followed, ended.seconds)


def compile_java(place):
    """Compiles the JVM's program once."""
    os.makedirs(place, exist_ok=True)
    if not os.path.exists(os.path.join(place, "Storm.class")):
        source = os.path.join(HERE, "Storm.java")
        ended = runs.run([find("javac"), "-d", place, source], None, os.path.join(place, "javac"), 120)
        if ended.code != 0:
            raise SystemExit(f"javac: {ended.text}")


def shell(script):
    """A script of this directory, run in the place of the run."""
    return lambda place: [find("bash"), os.path.join(HERE, script)]


# They look at a child in /proc before its exec has come so far, or wait a second for it, and fail bare as well.
RACES = {"test_cmdline", "test_long_cmdline", "test_name", "test_long_name", "test_proc_cmdline", "test_proc_name",
         "test_prog_w_funky_name", "test_zombie_process", "test_multi_sockets_procs"}
SUITES = [
    Program("jvm", lambda place: [find("java"), "-Xss256k", "-cp", os.path.dirname(place), "Storm"], 5, compile_java),
    Program("node", lambda place: [find("node"), os.path.join(HERE, "storm.js")], 3),
    Program("git", shell("git.sh"), 5, env={"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}),
    Program("gcc", shell("gcc.sh"), 3),
    Unittests("psutil", ["psutil.tests.test_process", "psutil.tests.test_connections", "psutil.tests.test_unicode"], 20,
              RACES),
]
