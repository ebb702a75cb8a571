"""Runs modules of unittest and writes how each case ended, as JSON: unittests.py REPORT MODULE..."""

import json
import sys
import unittest


class Result(unittest.TestResult):
    """Outcomes by the name of the case."""

    def __init__(self):
        super().__init__()
        self.cases = {}

    def addSuccess(self, test):
        self.cases.setdefault(test.id(), "passed")

    def addSkip(self, test, reason):
        self.cases.setdefault(test.id(), "skipped")

    def addExpectedFailure(self, test, error):
        self.cases.setdefault(test.id(), "passed")

    def addUnexpectedSuccess(self, test):
        self.cases[test.id()] = "failed"

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.cases[test.id()] = "failed"
        print(f"{test.id()}\n{self.failures[-1][1]}", flush=True)

    def addError(self, test, error):
        super().addError(test, error)
        self.cases[test.id()] = "failed"
        print(f"{test.id()}\n{self.errors[-1][1]}", flush=True)

    def addSubTest(self, test, subtest, error):
        if error:
            self.addError(test, error)


result = Result()
unittest.defaultTestLoader.loadTestsFromNames(sys.argv[2:]).run(result)
with open(sys.argv[1], "w", encoding="utf-8") as report:
    json.dump(result.cases, report)
