"""A clock that is set back, or was ahead: nothing smaller is signed, nothing refused for ever."""

from datetime import timedelta

from signer.receipts.leaf import BallotLeaf, decode_leaf
from signer.receipts.receipt import UnverifiedReceipt
from tests.support.faults import START, Scene
from tests.support.home_database import often_on_sqlite
from tests.support.log_audit import audit_all

LOG = "log-a"

pytestmark = often_on_sqlite


def slot(stage: Scene, number: int) -> int:
    receipt = stage.fetch(LOG, number)
    assert receipt is not None
    leaf = decode_leaf(UnverifiedReceipt.parse(receipt).entry)
    assert isinstance(leaf, BallotLeaf)
    return leaf.accepted_slot


def published(stage: Scene) -> int:
    return int(stage.request("GET", f"/elections/{LOG}").json()["published_size"])


def test_a_clock_set_back_two_hours_stops_nothing(stage: Scene) -> None:
    stage.register_all(LOG, 2)
    stage.settle()
    right = stage.at
    stage.at = right - timedelta(hours=2)
    # Who has the right time is asked to come back, and is heard as soon as the clock is right.
    early = stage.register(LOG, 9, claimed=right)
    assert (early.status, early.json()["code"]) == (400, "request_time_wrong")
    stage.register_all(LOG, 2)
    stage.settle()
    assert slot(stage, 2) == slot(stage, 0) - 12
    # What was accepted before is the same for who repeats it now.
    assert stage.register(LOG, 2).status == 200
    audit_all(stage)

    stage.stop()
    stage.start()  # a new process compares its records under the wrong clock
    stage.register_all(LOG, 1)
    stage.settle()
    stage.at = right
    assert stage.register(LOG, 9, claimed=right).status == 202
    stage.settle()
    audit_all(stage)


def test_before_the_opening_by_a_wrong_clock_ballots_are_refused_until_it_is_right(
    stage: Scene,
) -> None:
    right = stage.at
    stage.at = START - timedelta(days=1)
    refused = stage.register(LOG, 0)
    assert (refused.status, refused.json()["code"]) == (403, "election_not_yet_open")
    stage.at = right
    stage.register_all(LOG, 1)
    stage.settle()
    audit_all(stage)


def test_a_clock_that_was_ahead_delays_the_public_checkpoint_and_no_receipt(stage: Scene) -> None:
    stage.register_all(LOG, 12)
    stage.settle()
    right = stage.at
    stage.at = right + timedelta(hours=1)
    stage.run()  # judges an epoch that is an hour ahead
    seen = published(stage)
    assert seen == 13
    stage.at = right
    stage.register_all(LOG, 12)
    stage.settle()
    # The public never sees less, and sees more when that epoch is really over.
    assert published(stage) == seen
    stage.at = right + timedelta(hours=1, minutes=10)
    stage.run()
    assert published(stage) == 25
    audit_all(stage)


def test_a_clock_that_was_a_year_ahead_does_not_hide_the_closing(stage: Scene) -> None:
    stage.register_all(LOG, 2)
    stage.settle()
    right = stage.at
    stage.at = right + timedelta(days=365)
    stage.run()
    over = stage.register(LOG, 9)
    assert (over.status, over.json()["code"]) == (410, "election_over")
    stage.at = right
    assert stage.register(LOG, 9).status == 202
    assert stage.order_close(LOG).status == 202
    stage.settle()
    assert published(stage) == 5
    audit_all(stage)
