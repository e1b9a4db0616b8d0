"""The service's own background worker as a process, on a home of a test."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from webapi.cli.home import Home


class RealWorker:
    """`python -m webapi.roles worker` and what it logs."""

    def __init__(self, home: Home, name: str, environment: dict[str, str]) -> None:
        self.log = home.directory / f"{name}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "webapi.roles", "worker"],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "TAMGA_CONFIG": str(home.config),
                    "PYTHONPATH": str(Path(__file__).parents[2]),
                    **environment,
                },
            )

    def entries(self) -> list[dict[str, Any]]:
        """What it logged so far."""
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        whole = [line for line in lines if line.startswith("{") and line.endswith("\n")]
        return [json.loads(line) for line in whole]

    def events(self) -> list[str]:
        """What it logged so far, by name."""
        return [entry["event"] for entry in self.entries()]

    def await_event(self, event: str, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until it has logged something; the first entry of that name."""
        deadline = time.monotonic() + seconds
        while not (found := [entry for entry in self.entries() if entry["event"] == event]):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)
        return found[0]


@contextmanager
def real_worker(home: Home, name: str, **environment: str) -> Iterator[RealWorker]:
    """A worker that ends with the block, if it has not before."""
    worker = RealWorker(home, name, environment)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()
