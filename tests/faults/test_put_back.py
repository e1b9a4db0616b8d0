"""A database from yesterday under a service of today: what has ended since is not open again."""

from datetime import UTC, datetime

from tests.support.faults import Scene
from tests.support.home_database import HomeDatabase, often_on_sqlite
from webapi.storage.realm import Realm

GOOD: dict[str, dict[str, str]] = {"halted": {}, "busy": {}}


def ask(stage: Scene) -> str:
    """Our responder; by the true time, for its certificates begin today."""
    stage.at = datetime.now(tz=UTC)
    answer: str = stage.order("ask_responder")["answer"]
    return answer


@often_on_sqlite
def test_a_suspended_certificate_is_never_good_again_by_an_old_database(
    stage: Scene, home_database: HomeDatabase
) -> None:
    stage.at = datetime.now(tz=UTC)
    stage.order("change_certificate", state="suspended")
    stage.order("change_certificate", state="good")
    assert stage.seal() == GOOD
    assert ask(stage) == "GOOD"
    assert stage.seal() == GOOD
    home_database.back_up("yesterday", Realm.PKI)
    stage.order("change_certificate", state="suspended")
    assert stage.seal() == GOOD
    assert ask(stage) == "REVOKED"
    home_database.back_up("today", Realm.PKI)
    stage.stop()
    home_database.restore("yesterday")

    # The responder sees it by itself, before any worker does; then the worker holds all answers.
    for _ in range(2):
        stage.start()
        assert ask(stage) == "TRY_LATER"
        assert stage.seal() == {"halted": {"pki": "DatabaseBehind"}, "busy": {}}
        assert ask(stage) == "TRY_LATER"
        stage.stop()

    home_database.restore("today")
    stage.start()
    assert ask(stage) == "REVOKED"
    assert stage.seal() == GOOD
