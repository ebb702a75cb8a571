"""What a run is put under: tables that never fire, delays alone, EINTR alone, short transfers alone."""

import json
import subprocess

# Beyond any count, and a path and a port that nothing uses.
NEVER = 10**12


class Mode:
    """A name, the options of `chaos-exec run`, and whether it must inject."""

    def __init__(self, name, faults, fires):
        self.name, self.faults, self.fires = name, faults, fires

    def command(self, chaos_exec, session):
        """The words before the target's own."""
        words = [chaos_exec, "run", "--seed", "42", "--out", session]
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
    modes = [
        Mode("empty", [], False),
        Mode("idle", idle, False),
        Mode("latency", [f"latency calls={everything} delay=100us jitter=100us rate=2%"], True),
        Mode("eintr", [f"error calls={interrupted} errno=EINTR rate=20%"], True),
        # No kernel splits a few bytes on an idle stream, and hundreds of cases count them after a single call.
        Mode("short", [f"short calls={shortened} size=256.. keep=50% rate=20%"], True),
    ]
    for mode in modes:
        mode.chaos_exec = chaos_exec
    return {mode.name: mode for mode in modes}
