"""What is measured: for each figure the commands, the unit, and the goal.

A goal has up to three parts, all of which count: `ratio` to bare, `plus` (ours less bare) and `most` (ours alone).
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent.parent / "target" / "bench"
GUEST = BENCH / "benchguest"
ASKED = BENCH / "askguest"
ASKFLOOR = BENCH / "askfloor"
COPIER = BENCH / "copier"
# In memory, when there is room for files: a disk's cost drifts by more than what is measured here.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
WORK = Path(MEMORY) / f"chaos-exec-bench-{os.getpid()}"

# A rule, but on none of the calls that are measured: nobody here accepts a connection.
ELSEWHERE = ["accept=ECONNABORTED@1000000000"]
# Every batch of the failing call is short, and the guest pauses after 20,000: the ring never fills.
FIRED = ["error calls=malloc errno=ENOMEM process=benchguest*"]

GIT = "/usr/bin/git" if Path("/usr/bin/git").exists() else shutil.which("git")
PYTHON = f"""
import os
at = {str(WORK / "python")!r}
os.makedirs(at, exist_ok=True)
for turn in range(3):
    for i in range(400):
        with open(f"{{at}}/{{i}}", "wb") as f: f.write(b"x" * 5000)
    for i in range(400):
        with open(f"{{at}}/{{i}}", "rb") as f: assert len(f.read()) == 5000
    for i in range(400): os.remove(f"{{at}}/{{i}}")
"""
SQL = (
    "pragma synchronous=off; drop table if exists t; create table t(a integer primary key, b text);"
    + "insert into t(b) values('some text of a row'); " * 600
    + "begin;" + "insert into t(b) values('some text of a row'); " * 8000 + "commit; select count(*) from t;"
)


def prepare():
    """Makes what the whole programs work on: a tree of files and a repository of it."""
    shutil.rmtree(WORK, ignore_errors=True)
    tree = WORK / "tree"
    for folder in range(20):
        (tree / str(folder)).mkdir(parents=True)
        for file in range(40):
            (tree / str(folder) / f"{file}.txt").write_text(f"{folder} {file} line of text\n" * 300)
    with open(WORK / "large", "wb") as file:
        file.truncate(16 << 20)
    (WORK / "load.sql").write_text(SQL)
    (WORK / "work.py").write_text(PYTHON)
    if GIT:
        author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        for command in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "tree"]):
            subprocess.run([GIT, "-C", tree, *command], check=True)


def figure(name, goal, unit, bare, ours, rivals=None, rounds=1_000):
    commands = {"bare": bare, "ours": ours, "rivals": rivals or {}}
    return {"name": name, "goal": goal, "unit": unit, "rounds": rounds, **commands}


def figures(launcher):
    """All of them. `launcher` is the chaos-exec to measure."""

    def ours(faults, command):
        options = [part for fault in faults for part in ("-f", fault)]
        return [launcher, "run", "-q", "--seed", "1", *options, "--", *command]

    def guest(*arguments):
        return [GUEST, *map(str, arguments)]

    return [*calls(ours, guest), *processes(ours, guest), *programs(ours, guest), *memory(ours, guest),
            *asked(launcher, guest), *steered(launcher)]


def fiu(command, *points):
    return ["fiu-run", "-x", *(part for point in points for part in ("-c", point)), *command]


def strace(command, call):
    # 65535 is the largest count that strace takes; guests make fewer calls under it.
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO:when=65535"]
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *inject, *command]


def faketime(command):
    return ["faketime", "-f", "+0", *command]


def calls(ours, guest):
    read, malloc = guest("read", 400, 300), guest("malloc", 10_000, 600)
    clock = guest("clock", 4000, 500)
    two_read, two_malloc = guest("two-read", 400, 300), guest("two-malloc", 10_000, 500)
    armed_read = ["error calls=read path=/dev/zero errno=EIO rate=0%"]
    armed_malloc = ["malloc=ENOMEM@0%"]
    fiu_read = "enable_random name=posix/io/rw/read,probability=0"
    fiu_malloc = "enable_random name=libc/mm/malloc,probability=0"
    armed_clock = ["latency calls=clock_gettime delay=1ms rate=0%"]
    never = ["malloc=ENOMEM@1000000000000"]
    return [
        figure("read, no rule on it", {"ratio": 1.02}, "ns", read, ours(ELSEWHERE, read),
               {"libfiu": fiu(read), "strace": strace(read, "accept"), "faketime": faketime(read)}),
        figure("clock_gettime, no rule on it", {"ratio": 1.03}, "ns", clock, ours(ELSEWHERE, clock),
               {"faketime": faketime(clock)}),
        # Two hooked calls: malloc and free.
        figure("malloc+free, no rule on it", {"ratio": 1.20, "plus": 2}, "ns", malloc, ours(ELSEWHERE, malloc),
               {"libfiu": fiu(malloc), "faketime": faketime(malloc)}),
        figure("read, armed, not firing", {"ratio": 1.04}, "ns", read, ours(armed_read, read),
               {"libfiu": fiu(read, fiu_read), "strace": strace(guest("read", 20, 60), "read")}),
        figure("clock_gettime, armed, not firing", {"ratio": 1.10}, "ns", clock, ours(armed_clock, clock)),
        figure("malloc+free, armed, not firing", {"ratio": 1.35, "plus": 3}, "ns", malloc, ours(armed_malloc, malloc),
               {"libfiu": fiu(malloc, fiu_malloc)}),
        figure("malloc+free, counter of the process", {"plus": 8}, "ns", malloc, ours(never, malloc)),
        figure("2 threads: read, armed", {"ratio": 1.10}, "ns", two_read, ours(armed_read, two_read),
               {"libfiu": fiu(two_read, fiu_read), "strace": strace(guest("two-read", 100, 60), "read")}),
        figure("2 threads: malloc+free, armed", {"ratio": 1.10}, "ns", two_malloc, ours(armed_malloc, two_malloc),
               {"libfiu": fiu(two_malloc, fiu_malloc)}),
        # The whole failing call, decided, recorded, stamped and told as delivered; bare is a malloc+free that works.
        # libfiu writes no record.
        figure("malloc failed and logged", {"most": 25}, "ns", malloc, ours(FIRED, guest("failing", 500, 300)),
               {"libfiu": fiu(guest("failing", 500, 300), "enable name=libc/mm/malloc,failinfo=12")}),
    ]


def processes(ours, guest):
    # Under chaos-exec the guest's children come under the shim by the exec hooks, as any child does.
    spawn, fork = guest("spawn", 1, 33), guest("fork", 2, 60)
    true, wrapped = ["/bin/true"], ours(ELSEWHERE, ["/bin/true"])
    return [
        figure("start-up: posix_spawn of /bin/true", {"ratio": 1.12, "plus": 60_000}, "ns",
               spawn, ours(ELSEWHERE, spawn),
               {"libfiu": fiu(spawn), "strace": strace(spawn, "accept"), "faketime": faketime(spawn)}),
        figure("fork, _exit, wait", {"ratio": 1.10}, "ns", fork, ours(ELSEWHERE, fork),
               {"libfiu": fiu(fork), "strace": strace(fork, "accept"), "faketime": faketime(fork)}),
        figure("the launcher, once a run (/bin/true)", {}, "ms", guest("wall", 5, *true), guest("wall", 5, *wrapped),
               {"libfiu": guest("wall", 5, *fiu(true)), "strace": guest("wall", 5, *strace(true, "accept")),
                "faketime": guest("wall", 5, *faketime(true))}),
    ]


def programs(ours, guest):
    """CPU time of the program and its children, without the launcher: wall time of so long a run is all noise."""
    clone = f"{GIT} clone -q --no-hardlinks {WORK}/tree {WORK}/clone && rm -r {WORK}/clone"
    commands = {
        "python3 with 1200 files": ["/usr/bin/python3", WORK / "work.py"],
        "git clone": ["sh", "-c", clone],
        "sqlite3 inserts": ["sqlite3", "-init", WORK / "load.sql", WORK / "db", ".quit"],
        "tar of 800 files": ["tar", "-cf", WORK / "tree.tar", "-C", WORK / "tree", "."],
    }
    armed = ["error calls=disk path=/nowhere/** errno=EIO rate=50%", "malloc=ENOMEM@0%"]
    for name, command in commands.items():
        if not command[0] or not shutil.which(command[0]) or ("git" in name and not GIT):
            continue
        whole = guest("cpu", 2, *command)
        yield figure(f"{name}, no rule", {"ratio": 1.03}, "ms", whole, ours(ELSEWHERE, whole),
                     {"libfiu": fiu(whole), "strace": strace(whole, "accept"), "faketime": faketime(whole)})
        if name.startswith(("python3", "git")):
            yield figure(f"{name}, armed", {"ratio": 1.03}, "ms", whole, ours(armed, whole))


def memory(ours, guest):
    """Private memory of a process, and the launcher's peak after 100,000 injections. Hardly any noise: 3 rounds."""
    small = guest("memory", 1)
    largest = guest("largest", 1, *ours(FIRED, guest("failing", 500, 200)))
    return [
        figure("private memory a process", {"plus": 512}, "KB", small, ours(["malloc=ENOMEM@0%"], small),
               {"libfiu": fiu(small), "faketime": faketime(small)}, rounds=3),
        figure("launcher's peak, 100,000 injections", {"most": 20_480}, "KB", None, largest, rounds=3),
    ]


def steered(launcher):
    """A run that is steered while it goes on. There is nothing bare to compare with."""

    def steer(what):
        return [sys.executable, Path(__file__).with_name("steer.py"), launcher, what]

    return [
        figure("ctl: from a new rule to the call that obeys it", {"most": 1_000_000}, "ns", None, steer("obey"), rounds=5),
        figure("ctl: the process that gives an order", {}, "ns", None, steer("order"), rounds=5),
    ]


def asked(launcher, guest):
    """The seccomp engine: static programs, whose calls the launcher is asked about."""

    def ours(fault, command):
        return [launcher, "run", "-q", "--engine", "seccomp", "--seed", "1", "-f", fault, "--", *command]

    read = "error calls=read,pread errno=EIO rate=0%"
    # `path` never matches, so that every open is resolved and looked at.
    opened = "error calls=open path=/nowhere/** errno=EIO rate=50%"
    other = [ASKED, "other", "3000"]
    yield figure("seccomp: the floor, a supervisor that does nothing", {}, "ns", [ASKED, "read", "20000"],
                 [ASKFLOOR, "20000"])
    yield figure("seccomp: a call that is asked about and passes", {"most": 5_000}, "ns", [ASKED, "read", "20000"],
                 ours(read, [ASKED, "read", "20000"]), {"strace": strace([ASKED, "read", "5000"], "pread64")})
    yield figure("seccomp: an open whose path is matched", {"most": 10_000}, "ns", [ASKED, "open", "20000"],
                 ours(opened, [ASKED, "open", "20000"]), {"strace": strace([ASKED, "open", "5000"], "openat")})
    yield figure("seccomp: any other call", {"plus": 40}, "ns", other, ours(read, other),
                 {"strace": strace(other, "pread64")})
    if COPIER.exists():
        copy = guest("wall", 3, COPIER, WORK / "large", WORK / "copy")
        yield figure("seccomp: Go copies 16 MB by 4 KB reads", {}, "ms", copy, ours(read, copy),
                     {"strace": strace(copy, "read")}, rounds=5)
