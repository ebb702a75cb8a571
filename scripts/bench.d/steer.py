"""Steers a run and prints one number, in ns: how long after a change was published the next call of each process obeyed
it (`obey`, by the times of the log), or how long the process that gives an order takes (`order`). The median over all.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A session has room for at least so many more rules.
ORDERS = 12


def main():
    launcher, what = sys.argv[1], sys.argv[2]
    place = Path(tempfile.mkdtemp(prefix="chaos-steer."))
    try:
        print(statistics.median(measure(launcher, what, place)))
    finally:
        shutil.rmtree(place, ignore_errors=True)


# Two processes, so that a change has to reach another one than the first. They call every 50 us and more.
TARGET = """
import os, sys, time
os.fork()
fd = os.open(sys.argv[1], os.O_RDONLY)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        os.pread(fd, 1, 0)
    except OSError:
        pass
    time.sleep(0.00005)
"""


def measure(launcher, what, place):
    file, session = place / "data", place / "session"
    file.write_bytes(b"x")
    seconds = str(1 + ORDERS * 0.05)
    run = [launcher, "run", "-q", "--wait", "tree", "--out", session, "-f", "pread=EIO@0%", "--"]
    target = subprocess.Popen([*run, "/usr/bin/python3", "-c", TARGET, file, seconds])
    time.sleep(0.5)
    spent = []
    for number in range(ORDERS):
        spec = f"error name=r{number} calls=pread path={file} errno=EIO times=1"
        spent.append(order(launcher, session, "add", spec))
        time.sleep(0.01)
        spent.append(order(launcher, session, "rm", f"r{number}"))
    target.wait()
    if what == "order":
        return spent
    log = subprocess.run([launcher, "log", session, "--format", "jsonl"], stdout=subprocess.PIPE, check=True).stdout
    events = [json.loads(line) for line in log.splitlines()]
    # "ctl: add r7: error name=r7 ..."
    words = [(event["text"].split(), event["at_ns"]) for event in events if event["type"] == "mark"]
    added = {word[2].rstrip(":"): at for word, at in words if word[1] == "add"}
    return [event["at_ns"] - added[event["rule"]] for event in events if event["type"] == "injection"]


def order(launcher, session, *words):
    """Gives an order; how many ns that took."""
    before = time.perf_counter_ns()
    subprocess.run([launcher, "ctl", session, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter_ns() - before


main()
