"""What a run is put under: tables that never fire, delays alone, EINTR alone, short transfers alone; event loops also
under sockets that are not ready after all, or take and give less, and a server alone under EINTR."""

import json
import os
import subprocess

# Runtimes and servers whose loops wait by epoll: tokio and nginx edge-triggered, the others level-triggered.
LOOPS = {"tokio", "nginx", "node", "redis"}
# Beyond any count, and a path and a port that nothing uses.
NEVER = 10**12


class Mode:
    """A name, the options of `chaos-exec run`, whether it must inject, for which suites it is (None: all), and which path
    arms it."""

    def __init__(self, name, faults, fires, suites=None, arm=None):
        self.name, self.faults, self.fires, self.suites, self.arm = name, faults, fires, suites, arm

    def is_for(self, suite):
        return self.suites is None or suite in self.suites

    def command(self, chaos_exec, session):
        """The words before the target's own."""
        words = [chaos_exec, "run", "--seed", "42", "--out", session]
        if self.arm:
            table = os.path.join(os.path.dirname(session), "table.json")
            with open(table, "w", encoding="utf-8") as file:
                json.dump({"arm": {"path": self.arm}}, file)
            words += ["-t", table]
        for fault in self.faults:
            words += ["--fault", fault]
        return words + ["--"]


def make(chaos_exec):
    """The modes by name. Which calls can be interrupted or shortened, the launcher's own tables say."""
    listed = subprocess.run([chaos_exec, "list", "calls", "--json"], check=True, capture_output=True, text=True)
    calls = json.loads(listed.stdout)
    families = sorted({family for call in calls for family in call["families"]})

    def of(condition):
        return ",".join(call["name"] for call in calls if condition(call))

    def family(name, fault):
        return of(lambda call: name in call["families"] and fault in call["faults"])

    everything = of(lambda call: "latency" in call["faults"])
    idle = [f"error calls={calls} nth={NEVER}" for calls in (family(name, "error") for name in families) if calls]
    idle.append(f"latency calls={everything} delay=1s rate=0.000000001%")
    idle += ["error calls=disk path=/nowhere/**", "error calls=network to=127.9.9.9:9", "exhaust what=memory limit=16000000TB"]
    interrupted = of(lambda call: "EINTR" in call["errnos"] and "error" in call["faults"])
    shortened = of(lambda call: "short" in call["faults"])
    on_sockets = [call for call in calls if "network" in call["families"]]
    not_ready = of(lambda call: call in on_sockets and "EAGAIN" in call["errnos"] and "error" in call["faults"])
    in_pieces = of(lambda call: call in on_sockets and "short" in call["faults"])
    modes = [
        Mode("empty", [], False),
        Mode("idle", idle, False),
        Mode("latency", [f"latency calls={everything} delay=100us jitter=100us rate=2%"], True),
        Mode("eintr", [f"error calls={interrupted} errno=EINTR rate=20%"], True),
        # initdb does not survive it: the server alone, once it is up.
        Mode("server", [f"error calls={interrupted} errno=EINTR rate=20% process=postgres"], True, {"postgres"},
             "**/postmaster.pid"),
        Mode("loops", [f"error calls={not_ready} errno=EAGAIN to=127.0.0.0/8 rate=20%",
                       f"short calls={in_pieces} to=127.0.0.0/8 keep=30% rate=20%"], True, LOOPS),
        # No kernel splits a few bytes on an idle stream, and hundreds of cases count them after a single call.
        Mode("short", [f"short calls={shortened} size=256.. keep=50% rate=20%"], True),
    ]
    for mode in modes:
        mode.chaos_exec = chaos_exec
    return {mode.name: mode for mode in modes}
