"""Starting a command bare or in a mode, with an end to it whatever happens."""

import json
import os
import shutil
import signal
import subprocess
import time


class Ended:
    """How a command ended: exit code (None: it ran too long), stdout and stderr in one text, what the log says."""

    def __init__(self, code, text, seconds):
        self.code, self.text, self.seconds = code, text, seconds
        self.injected, self.followed, self.troubles = None, None, []

    def check(self, mode):
        """Troubles that do not show in any case: nothing came under the table, or too much or too little fired."""
        if self.code is None:
            self.troubles.append("ran too long and was killed")
        if mode is None:
            return
        if not self.followed:
            self.troubles.append("nothing came under the table")
        elif bool(self.injected) != mode.fires:
            self.troubles.append(f"{self.injected} faults injected")


def run(command, mode, place, limit, env=None, cwd=None):
    """Runs the command in its own process group; `place` is the directory for its output and its session."""
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    session = os.path.join(place, "session")
    words = mode.command(mode.chaos_exec, session) + command if mode else command
    start = time.monotonic()
    with open(os.path.join(place, "output"), "w+b") as output:
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env,
                                 cwd=cwd or place, start_new_session=True)
        try:
            code = child.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            code = None
        output.seek(0)
        text = output.read().decode(errors="replace")
    ended = Ended(code, text, time.monotonic() - start)
    if mode:
        ended.injected, ended.followed, troubles = read_log(mode.chaos_exec, session)
        ended.troubles += troubles
    ended.check(mode)
    return ended


def read_log(chaos_exec, session):
    """Injections and processes of a run, and what is wrong with its log."""
    told = subprocess.run([chaos_exec, "log", session, "--format", "jsonl"], capture_output=True)
    last = told.stdout.splitlines()[-1:] or [b"{}"]
    try:
        end = json.loads(last[0])
    except ValueError:
        end = {}
    if told.returncode != 0 or end.get("type") != "end":
        return 0, 0, [f"its log has no end: {told.stderr.decode(errors='replace').strip()}"]
    troubles = []
    if end.get("suppressed"):
        troubles.append(f"{end['suppressed']} faults suppressed")
    return end["delivered"], end["processes"], troubles
