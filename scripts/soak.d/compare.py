"""A run's outcome, and two of them beside each other."""

import fnmatch


class Outcome:
    """What a run of a suite came to: `cases` by name (passed, failed, skipped, or what it printed), and what went wrong
    around them. `injected` is None for a bare run."""

    def __init__(self, cases, troubles=(), injected=None, followed=None, seconds=0.0):
        self.cases, self.troubles, self.injected, self.followed = cases, list(troubles), injected, followed
        self.seconds = seconds

    def count(self, what):
        return sum(1 for outcome in self.cases.values() if outcome == what)

    def counts(self):
        others = len(self.cases) - self.count("passed") - self.count("failed") - self.count("skipped")
        return self.count("passed") + others, self.count("failed"), self.count("skipped")

    def __str__(self):
        passed, failed, skipped = self.counts()
        return f"{passed} passed, {failed} failed, {skipped} skipped in {self.seconds:.0f} s"


class Verdict:
    """How a run in a mode differs from the bare one."""

    def __init__(self, suite, mode, bare, seen, known):
        self.suite, self.mode, self.bare, self.seen, self.known = suite, mode, bare, seen, known
        self.tried_again = False
        self.differences = self.find()

    def find(self):
        found = [f"trouble: {trouble}" for trouble in self.seen.troubles]
        if not self.bare.cases:
            found.append("trouble: bare, it has no case at all")
        globs = self.known.of(self.suite, self.mode)
        if "*" in globs:
            # The suite as a whole cannot end as it does bare.
            return [] if found or self.seen.cases != self.bare.cases else ["exception *: not needed, it ends as bare"]
        excused = set()
        for case in sorted(self.bare.cases.keys() | self.seen.cases.keys()):
            before, after = self.bare.cases.get(case, "absent"), self.seen.cases.get(case, "absent")
            if before == after:
                continue
            fitting = [glob for glob in globs if fnmatch.fnmatchcase(case, glob)]
            excused.update(fitting)
            if not fitting:
                found.append(f"{case}: bare {before}, under the shim {after}")
        # Checked both ways: an exception that is not needed is out of date.
        found += [f"exception {glob}: not needed, every such case ends as bare" for glob in globs if glob not in excused]
        return found

    def again(self, bare, seen):
        """After a second try: what differed twice. A case that bare itself ends differently says nothing."""
        second = Verdict(self.suite, self.mode, bare, seen, self.known)
        unsteady = {case for case in self.bare.cases if self.bare.cases[case] != bare.cases.get(case)}
        names = {difference.split(": ")[0] for difference in second.differences}
        second.differences = [
            difference
            for difference in self.differences
            if difference.split(": ")[0] in names and difference.split(": ")[0] not in unsteady
        ]
        second.tried_again = True
        return second

    def __str__(self):
        words = [str(self.seen), f"{self.seen.injected} injected"]
        words += ["tried again"] * self.tried_again
        words += [f"{len(self.differences)} DIFFERENCES"] * bool(self.differences)
        return ", ".join(words)

    def story(self):
        return "\n".join([f"{self.suite} {self.mode}:"] + [f"  {difference}" for difference in self.differences])


def table(verdicts):
    """The end of the soak, a line for each suite and mode."""
    head = ("suite", "mode", "bare", "under", "processes", "injected", "differs")
    rows = [head]
    for verdict in verdicts:
        counts = ["/".join(map(str, outcome.counts())) for outcome in (verdict.bare, verdict.seen)]
        note = " (2nd try)" if verdict.tried_again else ""
        rows.append((verdict.suite, verdict.mode, *counts, str(verdict.seen.followed), str(verdict.seen.injected),
                     f"{len(verdict.differences) or 'no'}{note}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join(["", *lines, "", "bare and under: passed/failed/skipped"])
