"""The service's own background worker as a process, on a home of a test."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

    def events(self) -> list[str]:
        """What it logged so far, by name."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith("{")]

    def await_event(self, event: str, seconds: float = 90.0) -> float:
        """Wait until it has logged something; seconds waited."""
        began = time.monotonic()
        while event not in self.events():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() - began < seconds, self.log.read_text()[-3000:]
            time.sleep(0.02)
        return time.monotonic() - began


@contextmanager
def real_worker(home: Home, name: str, **environment: str) -> Iterator[RealWorker]:
    """A worker that ends with the block, if it has not before."""
    worker = RealWorker(home, name, environment)
    try:
        yield worker
    finally:
        worker.process.kill()
        worker.process.wait()
