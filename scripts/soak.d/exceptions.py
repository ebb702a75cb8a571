"""Cases that cannot end as they do bare, each with its reason."""

import fnmatch


class Known:
    """Rows of suite, mode, case and reason; suite and case are globs."""

    def __init__(self, rows):
        self.rows = rows

    def of(self, suite, mode):
        """The globs of cases that must differ."""
        return [case for name, of_mode, case in self.rows if of_mode == mode and fnmatch.fnmatchcase(suite, name)]


def read(path):
    """Reads the table; a row that lacks its reason is an error."""
    rows = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith("#") or not line.strip():
                continue
            columns = line.rstrip("\n").split("\t")
            if len(columns) != 4 or not all(columns):
                raise SystemExit(f"{path}:{number}: wants suite, mode, case and reason, with a tab between")
            rows.append(tuple(columns[:3]))
    return Known(rows)
