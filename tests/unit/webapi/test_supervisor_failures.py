"""The supervisor when something cannot be started, or does not end."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from tests.support.processes import assert_none_left
from tests.support.supervised import (
    UP,
    WAIT,
    Planned,
    alive,
    await_fact,
    await_number,
    numbers,
    role,
)
from webapi import role_process, supervisor
from webapi.cli import serve
from webapi.role_process import Role, RoleProcess, stop_all
from webapi.supervisor import NeverCameUp, Supervisor

pytestmark = pytest.mark.usefixtures("short_pauses")


def test_what_never_comes_up_ends_it_all_with_its_exit_code(tmp_path: Path) -> None:
    plan = Planned(role(tmp_path / "good"), role(tmp_path / "bad", "exit(3)"))
    with pytest.raises(NeverCameUp, match="bad ended with 3 and never came up, 3 times"):
        Supervisor(plan).run()
    assert len(numbers(tmp_path / "bad")) == 3
    assert_none_left(str(tmp_path))


def test_a_program_that_cannot_be_started_leaves_nothing_running(tmp_path: Path) -> None:
    missing = Role("missing", (str(tmp_path / "no-such"),))
    gc.collect()  # what another test left gives its descriptors back before they are counted
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError):
        Supervisor(Planned(role(tmp_path / "a"), missing)).run()
    assert_none_left(str(tmp_path))
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_role_that_a_reload_added_ends_nothing_else_however_often_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    plan = Planned(role(good))
    watched = Supervisor(plan)

    def add_and_stop() -> None:
        await_number(good, 1)
        plan.roles = [role(good, beside=False), role(bad, "exit(3)")]
        os.kill(os.getpid(), signal.SIGHUP)
        await_number(bad, supervisor.FIRST_ATTEMPTS + 1)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=add_and_stop)
    thread.start()
    with capture_logs() as logs:
        watched.run()
    thread.join()
    ends = [entry for entry in logs if entry["event"] == "role_ended"]
    assert {(entry["role"], entry["exit_code"]) for entry in ends} == {("bad", 3)}
    assert len(ends) >= supervisor.FIRST_ATTEMPTS
    assert_none_left(str(tmp_path))


class Shortage:
    """`RoleProcess` on a machine that has no more processes, as often as told."""

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, role: Role, *, at: float) -> RoleProcess:
        if self.times:
            self.times -= 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return RoleProcess(role, at=at)


def test_a_process_that_cannot_be_made_again_is_tried_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    mark = tmp_path / "a"
    watched = started(Planned(role(mark)))
    await_fact(lambda: numbers(mark), watched)
    monkeypatch.setattr(supervisor, "RoleProcess", Shortage(3))
    os.kill(numbers(mark)[0], signal.SIGKILL)
    with capture_logs() as logs:
        await_fact(lambda: len(numbers(mark)) == 2, watched)
    failures = [entry for entry in logs if entry["event"] == "role_ended"]
    assert failures[0]["exit_code"] == -signal.SIGKILL
    assert [entry["error_class"] for entry in failures[1:]] == ["BlockingIOError"] * 3
    assert failures[-1]["failures"] == 4


def test_a_successor_that_cannot_be_made_leaves_the_old_process_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    mark = tmp_path / "a"
    watched = started(Planned(role(mark)))
    await_fact(lambda: numbers(mark), watched)
    monkeypatch.setattr(supervisor, "RoleProcess", Shortage(1))
    with capture_logs() as logs:
        watched.reload()
        watched.look_after_all()
    (failed,) = [entry for entry in logs if entry["event"] == "reload_failed"]
    assert (failed["role"], failed["error_class"]) == ("a", "BlockingIOError")
    assert alive(numbers(mark)[0])


def test_repeated_reloads_do_not_put_off_the_forced_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)
    mark = tmp_path / "a"
    stubborn = role(mark, f"signal.signal(15, signal.SIG_IGN); {UP}{WAIT}", beside=False)
    watched = started(Planned(stubborn))
    slot = watched._slots["a"]
    await_fact(lambda: slot.current and slot.current.is_up(), watched)
    deadline = time.monotonic() + 60
    while alive(numbers(mark)[0]) and time.monotonic() < deadline:
        watched.reload()
        watched.look_after_all()
        time.sleep(0.02)
    assert not alive(numbers(mark)[0])


def test_who_does_not_listen_is_ended_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role_process, "STOP_SECONDS", 0.3)
    mark = tmp_path / "stubborn"
    stubborn = role(mark, f"signal.signal(15, signal.SIG_IGN); {UP}{WAIT}")
    process = RoleProcess(stubborn, at=0.0)
    while not process.is_up():
        time.sleep(0.02)
    stop_all([process.process])
    assert process.finish() == -signal.SIGKILL


def test_who_adopts_orphans_returns_when_all_of_a_group_have_ended(tmp_path: Path) -> None:
    mark = tmp_path / "a"
    many = f"[subprocess.Popen([sys.executable, '-c', {WAIT!r}]) for _ in range(8)]"
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from tests.support.supervised import UP, WAIT, role\n"
        "from webapi.role_process import RoleProcess, adopt_orphans, stop_all\n"
        "adopt_orphans()\n"
        f"leader = role(Path({str(mark)!r}), {f'import subprocess; {many}; '!r} + UP + WAIT)\n"
        "process = RoleProcess(leader, at=0.0)\n"
        "while not process.is_up(): pass\n"
        "stop_all([process.process])\n"
        "os.killpg(process.process.pid, 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    # To the group that it led no signal can be sent: nobody is in it, not even a zombie.
    assert done.stderr.splitlines()[-1] == "ProcessLookupError: [Errno 3] No such process"


def test_who_is_replaced_and_does_not_listen_is_ended_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(role_process, "STOP_SECONDS", 0.3)
    a, b = tmp_path / "a", tmp_path / "b"
    stubborn = f"signal.signal(15, signal.SIG_IGN); {UP}{WAIT}"
    roles = [role(a, stubborn), role(b, stubborn, beside=False)]
    watched = started(Planned(*roles))
    slots = watched._slots.values()
    await_fact(lambda: all(slot.current and slot.current.is_up() for slot in slots), watched)
    watched.reload()
    await_fact(lambda: not alive(numbers(a)[0]) and not alive(numbers(b)[0]), watched)
    await_fact(lambda: len(numbers(a)) == len(numbers(b)) == 2, watched)


def test_serve_says_what_could_not_be_started_and_leaves_no_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protected = []
    service = SimpleNamespace(origin="https://localhost", workers=1)
    settings = SimpleNamespace(service=service, ocsp_listener=None, metrics=None)
    monkeypatch.setattr(serve, "load_settings", lambda *_: settings)
    monkeypatch.setattr(serve, "protect_memory", lambda: protected.append(True))
    monkeypatch.setattr(serve, "configure_logs", lambda: None)
    monkeypatch.setattr(supervisor, "RoleProcess", Shortage(1))
    monkeypatch.setenv("TAMGA_CONFIG", "")
    done = CliRunner().invoke(serve.serve, ["--role", "worker"], obj=tmp_path / "tamga.toml")
    assert done.exit_code == 1
    assert "Error: a process could not be started: " in done.output
    assert "Resource temporarily unavailable" in done.output
    assert protected == [True]
