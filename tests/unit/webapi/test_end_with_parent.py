"""A process that hangs in a native call ends all the same when its parent is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.supervised import alive, await_number, numbers
from webapi import entry, role_servers

HUNG = """
import ctypes, os, signal, sys
from webapi.end_with_parent import end_with_parent
signal.signal(signal.SIGTERM, lambda *_: None)
end_with_parent(os.getppid(), grace_seconds=0.3)
with open(sys.argv[1], "a") as mark:
    mark.write(f"{os.getpid()} ")
libc = ctypes.CDLL(None)
while True:
    libc.sleep(60)
"""
"""As in a PKCS#11 module: without the interpreter's lock, and with SIGTERM only noted."""

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"


def test_what_hangs_in_a_native_call_does_not_outlive_its_killed_parent(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with subprocess.Popen([sys.executable, "-c", PARENT, HUNG, str(mark)]) as parent:
        await_number(mark, 1)
        (hung,) = numbers(mark)
        os.kill(hung, signal.SIGTERM)
        time.sleep(0.5)
        assert alive(hung)
        parent.kill()
    deadline = time.monotonic() + 60
    try:
        while alive(hung):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        if alive(hung):
            os.kill(hung, signal.SIGKILL)


def test_what_is_well_is_left_alone_while_its_parent_lives() -> None:
    script = (
        "import os, time\n"
        "from webapi import end_with_parent\n"
        "end_with_parent._POLL_SECONDS = 0.01\n"
        "end_with_parent.end_with_parent(os.getppid(), grace_seconds=0.0)\n"
        "time.sleep(0.3)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_parent_that_has_ended_already_is_no_parent() -> None:
    script = "from webapi.end_with_parent import end_with_parent; end_with_parent(2)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "has ended" in done.stderr


def test_every_role_and_every_worker_of_granian_ends_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(parent: int) -> None:
        raise SystemExit(f"the parent is {parent}")

    for module in (role_servers, entry):
        monkeypatch.setattr(module, "end_with_parent", refuse)
    for name in ("configure_logs", "log_uncaught"):  # of the process that runs the tests
        monkeypatch.setattr(role_servers, name, lambda: None)
    monkeypatch.setattr(entry, "parent_process", lambda: SimpleNamespace(pid=7))
    with pytest.raises(SystemExit, match="is 6"):
        role_servers.main(["worker", "6", "3"])
    for application in (entry.web, entry.ocsp):
        with pytest.raises(SystemExit, match="is 7"):
            application()
