"""The supervisor: all of its processes, or none."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import assert_none_left
from webapi.supervisor import Role, RoleEnded, role_command, stop_all, supervise


def sleeper(mark: Path, *, stubborn: bool = False) -> Role:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if stubborn else ""
    code = f"import signal, time; {ignore}open({str(mark)!r}, 'w').close(); time.sleep(60)"
    return Role(mark.name, (sys.executable, "-c", code))


def test_when_one_ends_by_itself_the_others_are_stopped(tmp_path: Path) -> None:
    quitter = Role("quitter", (sys.executable, "-c", "import time; time.sleep(0.5); exit(3)"))
    with pytest.raises(RoleEnded, match="quitter ended with 3"):
        supervise([sleeper(tmp_path / "a"), quitter, sleeper(tmp_path / "b")])
    assert_none_left(str(tmp_path))


def test_a_program_that_cannot_be_started_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        supervise([sleeper(tmp_path / "a"), Role("missing", (str(tmp_path / "no-such"),))])
    assert_none_left(str(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_stops_all(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        "from pathlib import Path\n"
        "from tests.unit.webapi.test_supervisor import sleeper\n"
        "from webapi.supervisor import supervise\n"
        f"supervise([sleeper(Path({str(tmp_path)!r}, name)) for name in 'ab'])"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        deadline = time.monotonic() + 20
        while not all((tmp_path / name).exists() for name in "ab"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(20) == 0
    assert_none_left(str(tmp_path))


def test_who_does_not_listen_is_ended_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapi.supervisor.STOP_SECONDS", 0.3)
    mark = tmp_path / "stubborn"
    process = subprocess.Popen(sleeper(mark, stubborn=True).command, process_group=0)
    while not mark.exists():
        time.sleep(0.02)
    stop_all([process])
    assert process.returncode == -signal.SIGKILL


def test_a_role_is_a_process_of_this_python() -> None:
    command = (sys.executable, "-m", "webapi.roles", "web", str(os.getpid()))
    assert role_command("web") == command


@pytest.mark.parametrize("arguments", [[], ["cook"], ["web", "worker"], ["web", "1", "2"]])
def test_an_unknown_role_is_refused(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "webapi.roles", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 1
    assert "usage" in done.stderr


def test_a_role_whose_parent_ended_before_it_began_ends_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "webapi.roles", "web", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert "has ended" in done.stderr
