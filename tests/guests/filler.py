"""Fills a directory with files by a fixed course of calls and says what each gave: run on a small tmpfs by itself and on a
large disk under a quota, it must say the same. All sizes are whole blocks, but for a few that share one."""
import errno
import os
import random
import sys

BLOCK = 4096
os.chdir(sys.argv[1])
course = random.Random(int(sys.argv[2]))
open_files = {}


def attempt(what, call):
    try:
        print(what, call())
    except OSError as error:
        print(what, errno.errorcode[error.errno])


def descriptor(name, flags=0):
    if name not in open_files:
        open_files[name] = os.open(name, os.O_CREAT | os.O_RDWR | flags, 0o600)
    return open_files[name]


def size():
    return course.choice([1, 1, 2, 3, 5, 8, 20, 60]) * BLOCK


def shut(name):
    if name in open_files:
        os.close(open_files.pop(name))


def step():
    name = course.choice("abcdef")
    act = course.choice(
        "write write write append pwrite writev overwrite small hole truncate cut unlink rename shut reopen fallocate "
        "punch copy orphan".split()
    )
    amount = size()
    if act == "write":
        attempt(f"write {name}", lambda: os.write(descriptor(name), b"w" * amount))
    elif act == "append":
        shut(name)
        fd = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        attempt(f"append {name}", lambda: os.write(fd, b"a" * amount))
        os.close(fd)
    elif act == "pwrite":
        at = course.randrange(40) * BLOCK
        attempt(f"pwrite {name}", lambda: os.pwrite(descriptor(name), b"p" * amount, at))
    elif act == "writev":
        attempt(f"writev {name}", lambda: os.writev(descriptor(name), [b"1" * 100, b"2" * (amount - 100)]))
    elif act == "overwrite":
        fd = descriptor(name)
        length = os.fstat(fd).st_size
        attempt(f"overwrite {name}", lambda: os.pwrite(fd, b"o" * length, 0))
    elif act == "small":
        attempt(f"small {name}", lambda: [os.write(descriptor(name), b"s" * part) for part in (1000, 2000, 1096)])
    elif act == "hole":
        fd = descriptor(name)
        os.lseek(fd, os.fstat(fd).st_size + amount, os.SEEK_SET)
        attempt(f"hole {name}", lambda: os.write(fd, b"h" * BLOCK))
    elif act == "truncate":
        attempt(f"truncate {name}", lambda: os.truncate(descriptor(name), amount))
        os.lseek(descriptor(name), 0, os.SEEK_END)
    elif act == "cut":
        descriptor(name)
        shut(name)
        attempt(f"cut {name}", lambda: os.truncate(name, BLOCK))
    elif act == "unlink":
        shut(name)
        attempt(f"unlink {name}", lambda: os.unlink(name))
    elif act == "rename":
        other = course.choice("abcdef")
        shut(other)
        if other != name:
            shut(name)
        attempt(f"rename {name} {other}", lambda: os.rename(name, other))
    elif act == "shut":
        shut(name)
    elif act == "reopen":
        shut(name)
        descriptor(name, os.O_TRUNC)
    elif act == "fallocate":
        at = os.fstat(descriptor(name)).st_size
        attempt(f"fallocate {name}", lambda: os.posix_fallocate(descriptor(name), at, amount))
    elif act == "punch":
        attempt(f"grow {name}", lambda: os.ftruncate(descriptor(name), os.fstat(descriptor(name)).st_size + amount))
    elif act == "copy":
        source = course.choice("abcdef".replace(name, ""))
        if os.path.exists(source):
            fd = os.open(source, os.O_RDONLY)
            attempt(f"sendfile {source} {name}", lambda: os.sendfile(descriptor(name), fd, 0, amount))
            os.close(fd)
    elif act == "orphan":
        # Without a name its room is taken until it is closed.
        descriptor(name)
        attempt(f"orphan {name}", lambda: os.unlink(name))
        attempt(f"write {name}", lambda: os.write(open_files[name], b"n" * amount))
        if course.random() < 0.5:
            shut(name)


for _ in range(int(sys.argv[3])):
    step()
print([(name, os.stat(name).st_size) for name in sorted(os.listdir("."))])
