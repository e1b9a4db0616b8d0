"""Two workers of one installation: one works, the other stands by and takes over."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.faults import Point, Scene, Service, await_fact, scene
from tests.support.home_database import HomeDatabase, PostgresHome, often_on_sqlite
from tests.support.log_audit import audit_all, audit_log
from tests.support.processes import standing_still
from tests.support.real_worker import real_worker
from webapi.cli.home import Home

LOG = "log-a"
GOOD: dict[str, dict[str, str]] = {"halted": {}, "busy": {}}


@pytest.fixture
def now_stage(home: Home) -> Iterator[Scene]:
    """A site at the true time, whose sequencing is left to real workers."""
    with scene(home, at=datetime.now(tz=UTC)) as made:
        made.start()
        made.create(LOG)
        yield made


def at_the_first_look(active: dict[str, Any], *, free_at: datetime) -> bool:
    """Whether a worker was refused the lease at no look that began after the lease was free.

    How often it looks is tested without a process, in `tests/unit/webapi/test_worker.py`.
    """
    return datetime.fromisoformat(active["last_refused"]) <= free_at


def all_have_receipts(stage: Scene) -> bool:
    stage.at = datetime.now(tz=UTC)
    return None not in [stage.fetch(LOG, number) for number in stage.registered[LOG]]


def test_a_killed_worker_is_followed_by_the_one_that_stood_by(
    now_stage: Scene, home_database: HomeDatabase
) -> None:
    home = now_stage.home
    now_stage.register_all(LOG, 3)
    with ExitStack() as stack:
        first = stack.enter_context(real_worker(home, "first"))
        first.await_event("worker_active")
        second = stack.enter_context(real_worker(home, "second"))
        second.await_event("worker_stands_by")
        await_fact(lambda: all_have_receipts(now_stage))
        now_stage.register_all(LOG, 3)
        held = home_database.lease_sessions()
        first.process.kill()
        first.process.wait()
        await_fact(lambda: not held & home_database.lease_sessions())
        free_at = datetime.now(tz=UTC)
        assert at_the_first_look(second.await_event("worker_active"), free_at=free_at)
        now_stage.register_all(LOG, 3)
        await_fact(lambda: all_have_receipts(now_stage))
        audit_log(now_stage, LOG)
        # It said once that it stands by, however often it looked.
        assert second.events().count("worker_stands_by") == 1
        second.process.terminate()
        assert second.process.wait(60) == 0
        assert second.events()[-1] == "worker_stopped"


@often_on_sqlite
def test_a_worker_that_is_told_to_stop_gives_the_lease_up(now_stage: Scene) -> None:
    home = now_stage.home
    with real_worker(home, "first") as first:
        first.await_event("worker_active")
        with real_worker(home, "second") as second:
            second.await_event("worker_stands_by")
            first.process.terminate()
            assert first.process.wait(60) == 0
            stopped = first.await_event("worker_stopped", seconds=0)
            free_at = datetime.fromisoformat(stopped["timestamp"])
            assert at_the_first_look(second.await_event("worker_active"), free_at=free_at)


@often_on_sqlite
def test_whose_lease_was_lost_stands_by_and_opens_nothing(
    now_stage: Scene, home_database: HomeDatabase
) -> None:
    home = now_stage.home
    with real_worker(home, "first") as first:
        first.await_event("worker_active")
        second = now_stage.service
        # Still until then: it would be as quick to take the lease again as another to take it.
        with standing_still(first.process):
            home_database.cut_lease()
            await_fact(lambda: second.order("acquire", at=now_stage.at)["active"])
        first.await_event("worker_lease_lost")
        first.await_event("worker_stands_by")
        # Its logs are free: another process sequences them now.
        assert second.order("run", at=datetime.now(tz=UTC)) == GOOD
        assert first.events().count("worker_active") == 1


@pytest.mark.parametrize("home_database", ["postgresql"], indirect=True)
def test_while_the_server_is_gone_the_worker_stands_by(
    now_stage: Scene, home_database: PostgresHome
) -> None:
    with real_worker(now_stage.home, "first") as first:
        first.await_event("worker_active")
        home_database.server.stop(signal.SIGQUIT)
        # Which of the two depends on whether it had opened everything by then.
        await_fact(lambda: {"worker_lease_lost", "worker_shift_failed"} & set(first.events()))
        first.await_event("worker_stands_by")
        home_database.server.start()
        # More than that where a shift ended once more while the server was starting.
        await_fact(lambda: first.events().count("worker_active") >= 2)
        now_stage.register_all(LOG, 2)
        await_fact(lambda: all_have_receipts(now_stage))
        audit_log(now_stage, LOG)


POINTS = [Point("ASSIGNED"), Point("INTENT_RECORDED"), Point("permit spent"), Point("VERIFIED")]


def lose_the_lease_at(stage: Scene, home_database: HomeDatabase, point: Point) -> None:
    """The active worker loses its lease in mid-batch, on a host whose locks nobody else sees."""
    first = stage.service
    assert first.order("acquire", at=stage.at) == {"active": True}
    assert first.order("work", at=stage.at) == GOOD
    stage.register_all(LOG, 2)
    second: Service = stage.start()
    stage.services.reverse()
    second.order("ignore_locks", at=stage.at)
    assert second.order("acquire", at=stage.at) == {"active": False}
    assert second.order("work", at=stage.at) == {"active": False}
    stage.arm(point, LOG, action="pause")
    first.send("work", at=stage.at)
    assert first.receive() == {"paused": point.name}
    home_database.cut_lease()
    assert second.order("acquire", at=stage.at) == {"active": True}
    assert second.order("work", at=stage.at) == GOOD
    first.send("go on", at=stage.at)
    assert first.receive() == {"halted": {}, "busy": {LOG: "FenceLost"}}
    stage.register_all(LOG, 1)
    assert first.order("work", at=stage.at) == {"active": False}
    assert first.order("acquire", at=stage.at) == {"active": False}
    assert second.order("work", at=stage.at) == GOOD
    assert stage.is_settled()
    # Overtaken between intent and signature, the permits of both keys are left over.
    audit_all(stage, unspent=2 if point.name == "INTENT_RECORDED" else 0)


def test_a_lease_lost_in_the_midst_of_a_batch_forks_nothing(
    stage: Scene, home_database: HomeDatabase
) -> None:
    lose_the_lease_at(stage, home_database, POINTS[1])


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_lease_lost_anywhere_forks_nothing(
    stage: Scene, home_database: HomeDatabase, point: Point
) -> None:
    lose_the_lease_at(stage, home_database, point)
