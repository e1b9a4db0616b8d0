"""Old databases under newer folders: found without a key, and nothing of them is left open."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select
from structlog.testing import capture_logs

from signer.login.challenge import IssuedChallenge, StockedNonce
from signer.receipts.errors import CheckpointFileMissing, DatabaseBehind, LogForked
from tests.support.audit_trail import AuditTrail, owner_of
from tests.support.databases import Database
from tests.support.receipts import NOW
from webapi.audit_folders import AuditFolders
from webapi.doctor.put_back import check_put_back
from webapi.put_back import LOOK_SECONDS, Containment, RecordsDoubtful, RecordsWatch
from webapi.put_back import compare_audit_log as compared
from webapi.storage.answer_holds import AnswerHoldReason, SqlAnswerHolds
from webapi.storage.audit import audit_checkpoints, audit_entries
from webapi.storage.challenges import SqlChallengeStore, challenge_stock, challenges
from webapi.storage.errors import DatabaseBusy
from webapi.storage.realm import Realm


class Comparison:
    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.seconds = 0.0
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        if self.fails is not None:
            raise self.fails


@pytest.fixture
def comparison() -> Comparison:
    return Comparison()


@pytest.fixture
def watch(comparison: Comparison) -> RecordsWatch:
    return RecordsWatch(comparison, lambda: comparison.seconds)


@pytest.mark.parametrize("error", [DatabaseBehind("old"), LogForked("two"), PermissionError(13)])
def test_doubtful_records_are_told_to_nobody(
    watch: RecordsWatch, comparison: Comparison, error: Exception
) -> None:
    comparison.fails = error
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(RecordsDoubtful, match=type(error).__name__):
                watch.require_agreement()
            comparison.seconds += LOOK_SECONDS / 2
    assert [entry["reason"] for entry in logs] == [type(error).__name__]
    assert comparison.count == 2
    comparison.fails = None
    comparison.seconds += LOOK_SECONDS
    watch.require_agreement()


def test_a_new_connection_is_looked_at_and_a_failed_look_is_repeated(
    watch: RecordsWatch, comparison: Comparison
) -> None:
    watch.require_agreement()
    comparison.fails = DatabaseBehind("old")
    watch.require_agreement()  # kept for a moment
    watch.expire()
    with pytest.raises(RecordsDoubtful):
        watch.require_agreement()
    watch.expire()
    comparison.fails = DatabaseBusy("others")
    for _ in range(2):
        with pytest.raises(DatabaseBusy):
            watch.require_agreement()
    comparison.fails = None
    watch.require_agreement()


def trail_of(database: Database, realm: Realm, folder: Path) -> AuditTrail:
    """A realm whose database lacks what its folder has."""
    trail = AuditTrail(database.engine(realm), realm, folder, owner=owner_of(database, realm))
    trail.permit()
    with trail.files.locked():
        trail.seal()
    return trail


def test_the_doctor_compares_each_realm(database: Database, tmp_path: Path) -> None:
    trail = trail_of(database, Realm.PKI, tmp_path)

    def look() -> tuple[str, str]:
        (found,) = check_put_back(Realm.PKI, lambda: compared(trail.log, AuditFolders(tmp_path)))
        return found.name, found.state

    assert look() == ("audit.pki", "ok")
    trail.sql(delete(audit_checkpoints))
    trail.sql(delete(audit_entries))
    assert look() == ("audit.pki", "failed")
    (tmp_path / "pki" / "checkpoint").write_bytes(b"damaged")
    assert look() == ("audit.pki", "failed")

    def busy() -> None:
        raise DatabaseBusy("others")

    (skipped,) = check_put_back(Realm.PKI, busy)
    assert skipped.state == "skipped"


def test_answers_are_held_once_and_every_open_login_is_removed(database: Database) -> None:
    contain = Containment(database.engine, lambda: NOW)
    for realm in (*Realm, *Realm):
        contain(realm)
    (hold,) = SqlAnswerHolds(database.engine(Realm.PKI)).find()
    assert (hold.reason, hold.restored_to) == (AnswerHoldReason.BEHIND, None)

    login = database.engine(Realm.LOGIN)
    store, end = SqlChallengeStore(login), NOW + timedelta(minutes=5)
    store.add_stock([StockedNonce("https://a", "n" * 128, end)])
    store.issue(IssuedChallenge("c" * 32, "m" * 128, "https://a", bytes(32), end))
    with capture_logs() as logs:
        contain(Realm.LOGIN)
    assert [(entry["event"], entry["removed"]) for entry in logs] == [("logins_removed", 2)]
    with login.begin() as connection:
        for table in (challenges, challenge_stock):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_a_folder_that_does_not_say_lets_nothing_be_said() -> None:
    def compare() -> None:
        raise CheckpointFileMissing("was its folder lost?")

    with pytest.raises(RecordsDoubtful, match="CheckpointFileMissing"):
        RecordsWatch(compare).require_agreement()
