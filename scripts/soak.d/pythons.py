"""CPython's own tests, from Debian's libpython3.11-testsuite, and psutil's."""

import os
import xml.etree.ElementTree

from compare import Outcome
import runs

PYTHON = "/usr/bin/python3"
# Named by the project's issue, then others that live on files, sockets, processes and signals. Seconds: about, bare.
MODULES = {
    "test_os": 2, "test_io": 30, "test_socket": 30, "test_subprocess": 30, "test_selectors": 16, "test_asyncio": 75,
    "test_ssl": 50, "test_threading": 12, "test_eintr": 7, "test_mmap": 1, "test_tempfile": 1, "test_signal": 30,
}
MORE = ("test_posix test_pathlib test_shutil test_fileio test_file_eintr test_poll test_epoll test_select test_fcntl "
        "test_pty test_popen test_wait3 test_wait4 test_fork1 test_threadsignals test_httplib test_httpservers "
        "test_ftplib test_zipfile test_gzip test_dbm_dumb test_urllib2_localnet test_faulthandler test_time")
# AF_VSOCK's tests wait for ever on virtual machines without a loopback for it, bare as well.
LEFT_OUT = ["*VSOCK*"]
# Cases that fail by chance, or leave a thread waiting for ever when they do: in these modes they run by themselves, again
# and again. The module, and the case.
ALONE = {
    ("python-ssl", "eintr"): ("test_ssl", "test.test_ssl.ThreadedTests.test_starttls"),
    ("python-more", "short"): ("test_shutil", "test.test_shutil.TestArchives.*"),
}


class Regrtest:
    """A few modules of CPython's tests."""

    def __init__(self, name, modules, seconds):
        self.name, self.modules, self.seconds = name, modules, seconds

    def run(self, work, label, mode):
        place = os.path.join(work, self.name, label)
        report = os.path.join(place, "report.xml")
        command = [PYTHON, "-m", "test", "--junit-xml", report, "--timeout", "300"]
        for glob in LEFT_OUT:
            command += ["--ignore", glob]
        module, alone = ALONE.get((self.name, mode.name if mode else None), (None, None))
        leave_out = ["--ignore", alone] if alone else []
        ended = runs.run(command + leave_out + self.modules, mode, place, 120 + 6 * self.seconds)
        cases, troubles = read_junit(report), ended.troubles
        if alone:
            tries = [PYTHON, "-m", "test", "--timeout", "20", "--match", alone, *[module] * 5]
            by_itself = runs.run(tries, mode, place + "-alone", 120)
            troubles += [f"{alone} passed, five times by itself"] * (by_itself.code == 0)
        if not cases:
            troubles.append(f"no report; exit code {ended.code}")
        return Outcome(cases, troubles, ended.injected, ended.followed, ended.seconds)


def read_junit(path):
    """The cases of a report by name."""
    cases = {}
    if not os.path.exists(path):
        return cases
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        failed = case.find("failure") is not None or case.find("error") is not None
        skipped = case.find("skipped") is not None
        cases[case.get("name")] = "failed" if failed else "skipped" if skipped else "passed"
    return cases


SUITES = [Regrtest(f"python-{name[5:]}", [name], seconds) for name, seconds in MODULES.items()]
SUITES.append(Regrtest("python-more", MORE.split(), 60))
