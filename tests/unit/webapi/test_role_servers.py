"""What granian serves: told to end while it starts, and up when somebody can connect to it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.faults import await_fact
from tests.support.processes import free_ports

ROOT = Path(__file__).parents[3]
SERVE = """
import sys
from types import SimpleNamespace
from webapi.role_servers import _serve
from webapi.start_report import report_to
report_to(int(sys.argv[2]))
listener = SimpleNamespace(listen_host="127.0.0.1", listen_port=int(sys.argv[1]), workers=1)
_serve("made:make", listener, 1)
"""
SLOW = """
import time
from multiprocessing.util import Finalize
from pathlib import Path
def put_away():
    time.sleep(0.5)
    Path({folder!r}, "put-away").touch()
def make():
    Finalize(None, put_away, exitpriority=10)
    Path({folder!r}, "begun").touch()
    time.sleep(100)
"""
REPORTING = """
import time
from webapi.start_report import report_when_listening
def make():
    report_when_listening()
    time.sleep(1)  # granian listens later
    return lambda environ, start_response: []
"""


@contextmanager
def served(
    folder: Path, application: str, reports: int
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process that serves what one worker makes, and its port."""
    (folder / "made.py").write_text(application.format(folder=str(folder)))
    (port,) = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(port), str(reports)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        pass_fds=(reports,),
        process_group=0,
    ) as process:
        os.close(reports)  # or nobody would notice at the other end that it has ended
        try:
            yield process, port
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_told_to_end_while_it_starts_it_puts_away_what_it_has(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    with served(tmp_path, SLOW, pipe[1]) as (process, _):
        await_fact((tmp_path / "begun").exists)
        # To each of its processes, as systemd may: granian tells its worker once more.
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0
    # Whoever has to be killed puts nothing away.
    assert (tmp_path / "put-away").exists()


def test_it_is_up_when_somebody_can_connect(tmp_path: Path, pipe: tuple[int, int]) -> None:
    with served(tmp_path, REPORTING, pipe[1]) as (_, port):
        assert os.read(pipe[0], 1) == b"\x01"
        with socket.create_connection(("127.0.0.1", port), timeout=60):
            pass
    assert os.read(pipe[0], 1) == b""  # it reported once
