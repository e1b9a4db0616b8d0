"""Runs the suite in parts side by side, joins what they covered, and tells at the end what failed.

A part is a run of pytest of its own. There is one more at a time than the two cores of the smallest
machine that this is for: parts of real processes wait for half of their time. Usage:
python -m tests.support.side_by_side
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

AT_ONCE = 3
SHOWN_BELOW_PERCENT = 95
SITE = "tests/unit/webapi"
MEMORY = Path("/dev/shm")  # noqa: S108 - below it a folder of our own is made
ENOUGH_BYTES = 4 * 2**30
# Each part alone covers too little: the bound is for all together.
MEASURED = ("--cov", "--cov-report=", "--cov-fail-under=0")
COUNTED = {
    "passed": "passed",
    "failed": "failed",
    "error": "failed",
    "errors": "failed",
    "skipped": "skipped",
    "xfailed": "skipped",
}
_FAILURE = re.compile(r"(FAILED|ERROR)( \S*(\.py|::)|: )")
_TOTALS = re.compile(r"=+ (\d+ \w+.*?) =+$")


@dataclass
class Part:
    """A part of the suite, and what became of it.

    Attributes:
        name: for people.
        paths: what pytest is given.
        measured: whether it counts for the coverage. It costs each process a third of its start.
        code: pytest's exit status.
        failures: the lines that name what failed.
        totals: pytest's last line; empty where it did not come to that.
    """

    name: str
    paths: Sequence[str]
    measured: bool = True
    code: int = -1
    failures: list[str] = field(default_factory=list)
    totals: str = ""

    def run(self, folder: Path) -> None:
        """Run it with all its files in a folder; its output is told as it comes."""
        options = MEASURED if self.measured else ("--no-cov",)
        environment = {
            "COVERAGE_FILE": str(folder / f"coverage-{self.name}"),
            "TMPDIR": str(folder),
        }
        command = [sys.executable, "-m", "pytest", *self.paths, *options]
        with subprocess.Popen(
            [*command, f"--basetemp={folder / self.name}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.note(line.rstrip("\n"))
        self.code = process.returncode

    def note(self, line: str) -> None:
        print(f"{self.name:>8} | {line}", flush=True)
        if _FAILURE.match(line):
            self.failures.append(line)
        elif (found := _TOTALS.match(line)) is not None:
            self.totals = found[1]

    def counts(self) -> Counter[str]:
        """How many tests passed, failed, were skipped."""
        told: Counter[str] = Counter()
        for number, outcome in re.findall(r"(\d+) (\w+)", self.totals):
            if outcome in COUNTED:
                told[COUNTED[outcome]] += int(number)
        return told


def parts() -> list[Part]:
    """All of the suite, the longest first, so that the last ones end together.

    Seconds on two cores: flows 322, faults 305, tokens 278, site-b 237, site-a 216, units 194.
    """
    one_half, other_half = halves(SITE)
    return [
        # These start, kill and stop processes; what those run is measured where it is tested in
        # detail.
        Part("flows", ["tests/flows"], measured=False),
        Part("faults", ["tests/faults", "tests/soak"], measured=False),
        Part("tokens", ["tests/tokens"]),
        Part("site-b", other_half),
        Part("site-a", one_half),
        Part("units", ["tests/unit", f"--ignore={SITE}"]),
    ]


def halves(folder: str) -> tuple[list[str], list[str]]:
    """Every second test file of a folder, and the others."""
    files = sorted(str(file) for file in Path(folder).rglob("test_*.py"))
    return files[::2], files[1::2]


def in_memory() -> Path | None:
    """A file system in memory, where there is one that is large and runs programs.

    Thousands of times something is made durable. No test pulls the plug, and a process that is
    killed leaves the same behind there as on a disk.
    """
    try:
        facts = os.statvfs(MEMORY)
    except OSError:
        return None
    if facts.f_flag & os.ST_NOEXEC or facts.f_bavail * facts.f_frsize < ENOUGH_BYTES:
        return None
    return MEMORY if os.access(MEMORY, os.W_OK | os.X_OK) else None


def report_coverage(folder: Path, measured: Sequence[Part]) -> int:
    """Join what the parts measured and show the files that have little; 0 if it is enough."""
    environment = {**os.environ, "COVERAGE_FILE": str(folder / "coverage")}
    command = [sys.executable, "-m", "coverage"]
    files = [str(folder / f"coverage-{part.name}") for part in measured]
    subprocess.run([*command, "combine", "-q", *files], check=False, env=environment)
    done = subprocess.run(
        [*command, "report", "--skip-covered"],
        check=False,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in done.stdout.splitlines():
        percent = re.search(r" (\d+)%", line)
        if percent is None or int(percent[1]) < SHOWN_BELOW_PERCENT or line.startswith("TOTAL"):
            print(line)
    return done.returncode


def summarise(ran: Sequence[Part]) -> None:
    """What failed, each part's totals, and one line for all: the end of a log that was cut off."""
    print("\n==== summary ====")
    for part in ran:
        for line in part.failures:
            print(line)
    for part in ran:
        print(f"{part.name:>8} | {part.totals or f'ended with {part.code} before its end'}")
    counts = sum((part.counts() for part in ran), Counter[str]())
    print(", ".join(f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped")))


def main() -> int:
    ran = parts()
    # Short: the paths of sockets below it have a limit.
    with tempfile.TemporaryDirectory(
        prefix="tamga-", dir=in_memory(), ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL does not run as root
        with ThreadPoolExecutor(AT_ONCE) as lanes:
            list(lanes.map(partial(Part.run, folder=folder), ran))
        too_little = report_coverage(folder, [part for part in ran if part.measured])
    summarise(ran)
    if too_little:
        print("the tests cover too little: the table above")
    return int(bool(too_little) or any(part.code for part in ran))


if __name__ == "__main__":
    sys.exit(main())
