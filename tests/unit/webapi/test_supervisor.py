"""The supervisor: what ends is started again; what is replaced waits for its successor."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
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
from webapi import role_servers, supervisor
from webapi.role_process import RoleProcess
from webapi.supervisor import PlanRefused, Supervisor, role_command

pytestmark = pytest.mark.usefixtures("short_pauses")


def test_a_wrong_configuration_at_the_start_is_no_start(tmp_path: Path) -> None:
    plan = Planned(role(tmp_path / "a"))
    plan.findings = ("service.origin: is missing",)
    with pytest.raises(PlanRefused, match=r"service\.origin"):
        Supervisor(plan).run()
    assert not numbers(tmp_path / "a")


def test_what_ends_by_itself_is_started_again_and_its_exit_code_is_logged(
    tmp_path: Path, started: Callable[[Planned], Supervisor]
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    watched = started(Planned(role(a), role(b, UP + "time.sleep(0.1); exit(7)")))
    with capture_logs() as logs:
        # More often than what never came up may end.
        await_fact(lambda: len(numbers(b)) >= 5, watched)
    ends = [entry for entry in logs if entry["event"] == "role_ended"]
    assert {(entry["role"], entry["exit_code"]) for entry in ends} == {("b", 7)}
    assert [entry["pause_seconds"] for entry in ends[:4]] == [0.05, 0.1, 0.2, 0.4]
    assert len(numbers(a)) == 1


def test_the_log_says_once_of_each_process_that_it_came_up(
    tmp_path: Path, started: Callable[[Planned], Supervisor]
) -> None:
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    with capture_logs() as logs:
        watched = started(Planned(role(slow, WAIT), role(quick, UP + WAIT)))
        await_fact(lambda: numbers(slow) and numbers(quick), watched)
        await_fact(lambda: any(entry["event"] == "role_up" for entry in logs), watched)
        os.kill(numbers(quick)[0], signal.SIGKILL)
        await_fact(lambda: len(numbers(quick)) == 2, watched)
        await_fact(lambda: sum(entry["event"] == "role_up" for entry in logs) == 2, watched)
        for _ in range(3):
            watched.look_after_all()
    ups = [(entry["role"], entry["process_id"]) for entry in logs if entry["event"] == "role_up"]
    assert ups == [("quick", number) for number in numbers(quick)]


def test_what_comes_up_and_ends_while_it_is_looked_at_came_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    go = tmp_path / "go"
    loop = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    look = RoleProcess.has_ended

    def look_late(process: RoleProcess) -> bool:
        go.touch()
        os.waitid(os.P_PID, process.process.pid, os.WEXITED | os.WNOWAIT)
        return look(process)

    monkeypatch.setattr(RoleProcess, "has_ended", look_late)
    with capture_logs() as logs:
        watched = started(Planned(role(tmp_path / "a", f"exec({loop!r}); {UP}exit(7)")))
        await_fact(lambda: any(entry["event"] == "role_ended" for entry in logs), watched)
    told = [entry["event"] for entry in logs if entry["event"] in ("role_up", "role_ended")]
    assert told == ["role_up", "role_ended"]


def test_pauses_have_a_limit_and_begin_anew_after_a_steady_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_SECONDS", 0.1)
    mark = tmp_path / "a"
    watched = started(Planned(role(mark, UP + "time.sleep(0.1); exit(7)")))
    with capture_logs() as logs:
        await_fact(lambda: len(numbers(mark)) >= 4, watched)
        monkeypatch.setattr(supervisor, "STEADY_SECONDS", 0.0)
        count = len(numbers(mark))
        await_fact(lambda: len(numbers(mark)) >= count + 3, watched)
    pauses = [entry["pause_seconds"] for entry in logs if entry["event"] == "role_ended"]
    assert pauses[2] == 0.1
    assert pauses[-1] == 0.05


def test_what_is_left_of_a_killed_roles_group_is_ended_too(
    tmp_path: Path, started: Callable[[Planned], Supervisor]
) -> None:
    mark, child = tmp_path / "a", tmp_path / "child"
    script = f"import os, time; open({str(child)!r}, 'a').write(f'{{os.getpid()}} '); {WAIT}"
    code = f"import subprocess; subprocess.Popen([sys.executable, '-c', {script!r}]); {UP}{WAIT}"
    watched = started(Planned(role(mark, code)))
    await_fact(lambda: numbers(child), watched)
    os.kill(numbers(mark)[0], signal.SIGKILL)
    await_fact(lambda: len(numbers(child)) == 2, watched)
    await_fact(lambda: not alive(numbers(child)[0]), watched)


def test_a_refused_reload_changes_nothing(
    tmp_path: Path, started: Callable[[Planned], Supervisor]
) -> None:
    mark = tmp_path / "a"
    plan = Planned(role(mark))
    watched = started(plan)
    with capture_logs() as logs:
        await_fact(lambda: any(entry["event"] == "role_up" for entry in logs), watched)
    plan.findings = ("service.origin: is missing",)
    with capture_logs() as logs:
        watched.reload()
        watched.look_after_all()
    assert [entry["event"] for entry in logs] == ["reload_refused"]
    assert logs[0]["findings"] == plan.findings
    assert len(numbers(mark)) == 1
    assert alive(numbers(mark)[0])


def test_the_old_process_serves_until_all_of_its_successor_is_up(
    tmp_path: Path, started: Callable[[Planned], Supervisor]
) -> None:
    mark, go = tmp_path / "a", tmp_path / "go"
    loop = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    waiting = f"{UP}exec({loop!r}); {UP}{WAIT}"
    plan = Planned(role(mark))
    watched = started(plan)
    await_fact(lambda: numbers(mark), watched)
    plan.roles = [role(mark, waiting, reports=2)]
    watched.reload()
    await_fact(lambda: len(numbers(mark)) == 2, watched)
    old, new = numbers(mark)
    for _ in range(20):
        watched.look_after_all()
        time.sleep(0.01)
    assert alive(old)
    go.touch()
    await_fact(lambda: not alive(old), watched)
    assert alive(new)


@pytest.mark.parametrize(
    ("code", "status"), [("exit(4)", 4), (UP + "exit(5)", 5)], ids=["never up", "up"]
)
def test_a_successor_that_ended_leaves_the_old_process_serving(
    tmp_path: Path, started: Callable[[Planned], Supervisor], code: str, status: int
) -> None:
    mark = tmp_path / "a"
    plan = Planned(role(mark))
    watched = started(plan)
    await_fact(lambda: numbers(mark), watched)
    plan.roles = [role(mark, code)]
    with capture_logs() as logs:
        watched.reload()
        successor = watched._slots["a"].successor
        assert successor is not None
        os.waitid(os.P_PID, successor.process.pid, os.WEXITED | os.WNOWAIT)
        watched.look_after_all()
    assert [e["exit_code"] for e in logs if e["event"] == "reload_failed"] == [status]
    assert alive(numbers(mark)[0])


def test_a_successor_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    monkeypatch.setattr(supervisor, "SUCCESSOR_SECONDS", 0.5)
    mark = tmp_path / "a"
    plan = Planned(role(mark))
    watched = started(plan)
    await_fact(lambda: numbers(mark), watched)
    plan.roles = [role(mark, WAIT)]
    with capture_logs() as logs:
        watched.reload()
        await_fact(lambda: any(e["event"] == "reload_failed" for e in logs), watched)
    assert alive(numbers(mark)[0])


def test_a_second_reload_replaces_the_successor_of_the_first(
    tmp_path: Path, started: Callable[[Planned], Supervisor]
) -> None:
    mark = tmp_path / "a"
    plan = Planned(role(mark))
    watched = started(plan)
    await_fact(lambda: numbers(mark), watched)
    plan.roles = [role(mark, WAIT)]
    watched.reload()
    await_fact(lambda: len(numbers(mark)) == 2, watched)
    plan.roles = [role(mark)]
    watched.reload()
    await_fact(lambda: len(numbers(mark)) == 3, watched)
    first, second, third = numbers(mark)
    await_fact(lambda: not alive(first) and not alive(second), watched)
    assert alive(third)


def test_what_shares_nothing_is_ended_before_its_successor_starts(
    tmp_path: Path, started: Callable[[Planned], Supervisor]
) -> None:
    mark = tmp_path / "a"
    gone = f"signal.signal(15, lambda *_: (open({str(mark)!r}, 'a').write('0 '), exit(0))); {UP}"
    watched = started(Planned(role(mark, gone + WAIT, beside=False)))
    slot = watched._slots["a"]
    await_fact(lambda: slot.current and slot.current.is_up(), watched)  # and listens
    watched.reload()
    watched.reload()  # in the midst of the first
    await_fact(lambda: len(numbers(mark)) == 3, watched)
    assert numbers(mark)[1] == 0


def test_a_reload_starts_new_roles_ends_others_and_wakes_what_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Callable[[Planned], Supervisor]
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 60.0)
    a, b, c = (tmp_path / name for name in "abc")
    plan = Planned(role(a), role(b, UP + "exit(1)"))
    watched = started(plan)
    await_fact(lambda: numbers(a) and watched._slots["b"].failures == 1, watched)
    plan.roles = [role(b), role(c)]
    watched.reload()
    await_fact(lambda: len(numbers(b)) == 2 and numbers(c) and not alive(numbers(a)[0]), watched)
    await_fact(lambda: not watched._retiring, watched)


def test_signals_reload_and_stop_it(tmp_path: Path) -> None:
    mark = tmp_path / "a"
    told = []

    def signal_it() -> None:
        for count, number in ((1, signal.SIGHUP), (2, signal.SIGTERM)):
            await_number(mark, count)
            told.append(number)
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=signal_it)
    thread.start()
    before = signal.getsignal(signal.SIGHUP)
    Supervisor(Planned(role(mark))).run()
    thread.join()
    assert told == [signal.SIGHUP, signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) == before
    assert_none_left(str(tmp_path))


def test_a_closed_terminal_stops_it(tmp_path: Path) -> None:
    mark = tmp_path / "a"
    script = (
        "from pathlib import Path\n"
        "from tests.support.supervised import Planned, role\n"
        "from webapi.supervisor import Supervisor\n"
        f"Supervisor(Planned(role(Path({str(mark)!r})))).run()"
    )
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", script])  # noqa: S606 - pty made the fork
    try:
        for count in (1, 2):
            await_number(mark, count)
            assert len(numbers(mark)) == count
            if count == 1:  # with its terminal it reloads
                os.kill(child, signal.SIGHUP)
    finally:
        os.close(terminal)
    assert os.waitpid(child, 0)[1] == 0
    assert_none_left(str(tmp_path))


def test_a_role_is_a_process_of_this_python() -> None:
    command = (sys.executable, "-m", "webapi.roles", "web", str(os.getpid()))
    assert role_command("web") == command


@pytest.mark.parametrize(
    "arguments", [[], ["cook"], ["web", "worker"], ["web", "1"], ["web", "1", "2", "3"]]
)
def test_an_unknown_role_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="usage"):
        role_servers.main(arguments)


def test_a_refused_role_is_told_to_who_started_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "webapi.roles", "cook"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "usage" in done.stderr


def test_a_role_whose_parent_ended_before_it_began_ends_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "webapi.roles", "web", "1", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "has ended" in done.stderr
