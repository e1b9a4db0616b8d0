"""Two sequencers on one log, the second past the folder's lock: the fence keeps them apart."""

import pytest

from tests.support.faults import Point, Scene, Service
from tests.support.home_database import often_on_sqlite
from tests.support.log_audit import audit_all

LOG = "log-a"
# Until where the first one gets before the second takes the log over.
BEFORE_THE_FENCE = [
    Point("state read"),
    Point("ASSIGNED"),
    Point("READ_BACK"),
    Point("INTENT_RECORDED"),
]
OVERTAKEN_AT = [*BEFORE_THE_FENCE, Point("permit spent"), Point("SIGNED"), Point("VERIFIED")]
GOOD: dict[str, dict[str, str]] = {"halted": {}, "busy": {}}
LOST = {"halted": {}, "busy": {LOG: "FenceLost"}}


def second_sequencer(stage: Scene) -> Service:
    """Another process on the same home; the scene goes on speaking to the first."""
    other = stage.start()
    stage.services.reverse()
    other.order("ignore_locks", at=stage.at)
    return other


@often_on_sqlite
def test_the_lock_keeps_a_second_sequencer_out(stage: Scene) -> None:
    other = stage.start()
    told = other.order("run", at=stage.at)
    assert told == {"halted": {}, "busy": {LOG: "SequencerRunning"}}
    stage.services.reverse()
    stage.order("stop")
    # Nobody has to do anything: the one that stood by takes over.
    assert other.order("run", at=stage.at) == GOOD


def overtake(stage: Scene, point: Point) -> None:
    """The first stands still at a point while the second signs; then it is let go on."""
    first = stage.service
    stage.register_all(LOG, 2)
    other = second_sequencer(stage)
    stage.arm(point, LOG, action="pause")
    first.send("run", at=stage.at)
    assert first.receive() == {"paused": point.name}
    assert other.order("run", at=stage.at) == GOOD
    if point.name == "state read":
        # It would give this one's place, and sign a size between the other's two.
        stage.services.reverse()
        stage.register_all(LOG, 1)
        stage.services.reverse()
    signed = stage.sign_calls()
    first.send("go on", at=stage.at)
    assert first.receive() == LOST
    if point in BEFORE_THE_FENCE:
        assert stage.sign_calls() == signed
    # It begins anew from the records, and then it is the other's turn to find out.
    stage.register_all(LOG, 1)
    assert first.order("run", at=stage.at) == GOOD
    assert other.order("run", at=stage.at) == LOST
    stage.settle()
    audit_all(stage, unspent=2 if point.name == "INTENT_RECORDED" else 0)


@often_on_sqlite
@pytest.mark.parametrize(
    "point", [Point("state read"), Point("INTENT_RECORDED"), Point("SIGNED")], ids=str
)
def test_who_is_overtaken_signs_and_commits_nothing(stage: Scene, point: Point) -> None:
    overtake(stage, point)


@pytest.mark.long
@pytest.mark.parametrize("point", OVERTAKEN_AT, ids=str)
def test_who_is_overtaken_anywhere_signs_and_commits_nothing(stage: Scene, point: Point) -> None:
    overtake(stage, point)


def race(stage: Scene, rounds: int) -> None:
    other = second_sequencer(stage)
    for _ in range(rounds):
        stage.register_all(LOG, 2)
        for service in (stage.service, other):
            service.send("run", at=stage.at)
        for service in (stage.service, other):
            told = service.receive()
            assert told["halted"] == {}
            assert set(told["busy"].values()) <= {"FenceLost"}
    other.order("stop", at=stage.at)
    stage.run()  # it may have to find out first that it was overtaken
    stage.settle()
    audit_all(stage, unspent=None)  # of who came second at a fence


def test_two_that_race_fork_nothing(stage: Scene) -> None:
    race(stage, rounds=8)


@pytest.mark.long
def test_two_that_race_for_long_fork_nothing(stage: Scene) -> None:
    race(stage, rounds=300)
