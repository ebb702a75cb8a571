"""The tests that crates of Rust carry in their packages, and a program of ours on the commonest runtime."""

import json
import os
import re
import shutil
import subprocess

from compare import Outcome
from programs import HERE, Program
import runs

# Which crates; their packages carry their tests.
CRATES = {"tempfile": "3.27.0", "memmap2": "0.9.12", "polling": "3.11.0", "signal-hook": "0.3.18", "async-io": "2.6.0"}
LINE = re.compile(r"^test (.+?) \.\.\. (ok|FAILED|ignored)", re.MULTILINE)
WORDS = {"ok": "passed", "FAILED": "failed", "ignored": "skipped"}


class Crates:
    """All crates in one suite: each test binary in turn."""

    name, seconds = "rust", 30

    def __init__(self):
        self.binaries = None

    def build(self, work):
        """Copies the sources that cargo fetched, builds their tests in one target directory, and finds them."""
        place = os.path.join(work, "crates")
        os.makedirs(os.path.join(place, "src"), exist_ok=True)
        open(os.path.join(place, "src", "lib.rs"), "w").close()
        with open(os.path.join(place, "Cargo.toml"), "w", encoding="utf-8") as manifest:
            manifest.write(f'[workspace]\nexclude = {json.dumps(list(CRATES))}\n[package]\nname = "soak"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n')
            manifest.writelines(f'{name} = "={version}"\n' for name, version in CRATES.items())
        cargo = os.environ.get("CARGO", "cargo")
        # The sources are copied below the manifest, and are no members of its workspace.
        told = subprocess.run([cargo, "metadata", "--format-version", "1"], cwd=place, check=True, capture_output=True)
        binaries = []
        for package in json.loads(told.stdout)["packages"]:
            if CRATES.get(package["name"]) != package["version"]:
                continue
            source = os.path.join(place, package["name"])
            shutil.copytree(os.path.dirname(package["manifest_path"]), source, dirs_exist_ok=True)
            command = [cargo, "test", "--no-run", "--lib", "--tests", "--message-format", "json"]
            environment = {**os.environ, "CARGO_TARGET_DIR": os.path.join(place, "target")}
            built = subprocess.run(command, cwd=source, capture_output=True, text=True, env=environment)
            if built.returncode != 0:
                raise SystemExit(f"soak: {package['name']} does not build: {built.stderr[-2000:]}")
            for line in built.stdout.splitlines():
                message = json.loads(line)
                if message.get("executable") and message.get("profile", {}).get("test"):
                    binaries.append((f"{package['name']}/{message['target']['name']}", source, message["executable"]))
        return binaries

    def run(self, work, label, mode):
        self.binaries = self.binaries or self.build(work)
        cases, troubles, injected, followed, seconds = {}, [], 0, 0, 0.0
        for name, source, binary in self.binaries:
            place = os.path.join(work, self.name, label, name.replace("/", "-"))
            ended = runs.run([binary, "--test-threads", "2"], mode, place, 300, cwd=source)
            cases.update({f"{name}::{case}": WORDS[word] for case, word in LINE.findall(ended.text)})
            # A binary without a test that makes such a call has nothing to hit; the whole must have.
            troubles += [f"{name}: {trouble}" for trouble in ended.troubles if trouble != "0 faults injected"]
            if ended.code not in (0, 101):
                troubles.append(f"{name}: exit code {ended.code}")
            injected, followed = injected + (ended.injected or 0), followed + (ended.followed or 0)
            seconds += ended.seconds
        if mode and mode.fires and not injected:
            troubles.append("0 faults injected")
        return Outcome(cases, troubles, injected, followed, seconds)


class Tokio(Program):
    """A server and its clients on edge-triggered epoll."""

    def __init__(self):
        super().__init__("tokio", lambda place: [os.path.join(os.path.dirname(place), "target", "release", "echo")], 5, self.build)

    @staticmethod
    def build(place):
        """Builds it, beside its sources' lock file but not among them."""
        cargo = os.environ.get("CARGO", "cargo")
        manifest = os.path.join(HERE, "echo", "Cargo.toml")
        command = [cargo, "build", "--quiet", "--release", "--locked", "--manifest-path", manifest]
        built = subprocess.run([*command, "--target-dir", os.path.join(place, "target")], capture_output=True, text=True)
        if built.returncode != 0:
            raise SystemExit(f"soak: echo does not build: {built.stderr[-2000:]}")


SUITES = [Crates(), Tokio()]
