"""Runs the suite in two halves at once, one for each core, and joins what they covered.

The unit and token tests are mostly one busy process; the others mostly wait for the processes that
they start. Usage: python -m tests.support.side_by_side
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HALVES = {
    "units": ["tests/unit", "tests/tokens"],
    "processes": ["tests/faults", "tests/flows", "tests/soak"],
}
# Each half alone covers too little: the bound is for both together.
OPTIONS = ["--cov", "--cov-report=", "--cov-fail-under=0"]


def start(name: str, paths: list[str], folder: Path) -> subprocess.Popen[str]:
    """One half, with measurements in files of its own; its output is told as it comes."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *paths, *OPTIONS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COVERAGE_FILE": str(folder / f"coverage-{name}")},
    )
    threading.Thread(target=tell, args=(name, process)).start()
    return process


def tell(name: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        print(f"{name:>9} | {line}", end="", flush=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="tamga-tests-") as name:
        folder = Path(name)
        running = [start(half, paths, folder) for half, paths in HALVES.items()]
        codes = [process.wait() for process in running]
        environment = {**os.environ, "COVERAGE_FILE": str(folder / "coverage")}
        measured = [str(folder / f"coverage-{half}") for half in HALVES]
        for arguments in (["combine", "-q", *measured], ["report", "--skip-covered"]):
            done = subprocess.run(
                [sys.executable, "-m", "coverage", *arguments], check=False, env=environment
            )
            codes.append(done.returncode)
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
