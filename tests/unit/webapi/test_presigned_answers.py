"""Answers signed beforehand: what is not kept and not found first, then what is, then races."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.x509 import ocsp as x509_ocsp
from sqlalchemy import Engine

from ocsp.config import CertIdHash, NonceMode
from ocsp.request import build_query
from ocsp.responder.answering import Answer, Declined, Question, ResponderCa
from tests.support.certificates import NOW, development_like_pki
from tests.support.databases import Database
from webapi.ocsp_service import OcspService
from webapi.presigning import BATCH, PresignedLane
from webapi.storage import presigned_answers
from webapi.storage.answer_holds import AnswerHoldReason, AnswersOnHold, SqlAnswerHolds
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.errors import StorageError
from webapi.storage.presigned_answers import CLAIM_LIFE, AnswerToKeep, SqlPresignedAnswers
from webapi.storage.realm import Realm

PKI = development_like_pki()
LEAF = PKI.leaf.certificate
SERIAL = LEAF.serial_number
LIFE = timedelta(hours=1)
DELEGATE = sha256(b"delegate").digest()
KEPT = AnswerToKeep(
    serial=SERIAL,
    revision=0,
    this_update=NOW,
    next_update=NOW + LIFE,
    refresh_at=NOW + LIFE / 2,
    sha1=b"to SHA-1",
    sha256=b"to SHA-256",
)
GOOD, REVOKED = x509_ocsp.OCSPCertStatus.GOOD, x509_ocsp.OCSPCertStatus.REVOKED
Answers = SqlPresignedAnswers


class NotToday(StorageError):
    """The records are not today's."""


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.PKI)


@pytest.fixture
def store(engine: Engine) -> SqlCertificateStore:
    store = SqlCertificateStore(engine)
    store.register(
        ca="citizen", serial=SERIAL, subject="CN=Bat", not_after=LEAF.not_valid_after_utc
    )
    return store


@pytest.fixture
def answers(engine: Engine, store: SqlCertificateStore) -> Answers:
    return SqlPresignedAnswers(engine, "citizen", DELEGATE)


def found(answers: Answers, at: datetime = NOW, hash_name: str = "sha256") -> bytes | None:
    answer = answers.find(SERIAL, hash_name, at)
    return None if answer is None else answer.der


Change = Callable[[SqlCertificateStore], None]
CHANGES: dict[str, Change] = {
    "revoked": lambda store: store.revoke(
        ca="citizen", serial=SERIAL, at=NOW, reason="keyCompromise"
    ),
    "suspended": lambda store: store.suspend(ca="citizen", serial=SERIAL, at=NOW),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_removes_the_answer(
    store: SqlCertificateStore, answers: Answers, change: Change
) -> None:
    assert answers.keep([KEPT]) == 1
    change(store)
    assert found(answers) is None


def test_a_restoration_removes_the_answer(store: SqlCertificateStore, answers: Answers) -> None:
    store.suspend(ca="citizen", serial=SERIAL, at=NOW)
    assert answers.keep([replace(KEPT, revision=1)]) == 1
    store.restore(ca="citizen", serial=SERIAL, at=NOW)
    assert found(answers) is None
    assert answers.keep([replace(KEPT, revision=1)]) == 0
    assert answers.keep([replace(KEPT, revision=2)]) == 1


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_answer_of_an_earlier_revision_is_not_kept(
    store: SqlCertificateStore, answers: Answers, change: Change
) -> None:
    (before,) = answers.records_of([SERIAL])
    change(store)
    assert answers.keep([replace(KEPT, revision=before.revision)]) == 0
    assert found(answers) is None


def test_an_answer_about_what_was_not_issued_is_not_kept(answers: Answers) -> None:
    assert answers.records_of([4711]) == ()
    assert answers.keep([replace(KEPT, serial=4711)]) == 0
    assert answers.find(4711, "sha256", NOW) is None


def test_what_is_over_is_not_found_and_purged(answers: Answers) -> None:
    answers.keep([KEPT])
    assert found(answers, NOW + LIFE) is None
    answers.purge(NOW + LIFE - timedelta(seconds=1))
    assert found(answers) == b"to SHA-256"
    answers.purge(NOW + LIFE)
    assert found(answers) is None


def test_what_the_database_still_says_is_not_made_again(
    store: SqlCertificateStore, answers: Answers
) -> None:
    answers.keep([KEPT])
    first = answers.find(SERIAL, "sha256", NOW)
    assert first is not None
    assert answers.find(SERIAL, "sha256", NOW) is first
    assert answers.find(SERIAL, "sha1", NOW) == replace(first, der=b"to SHA-1")
    answers.keep([replace(KEPT, sha256=b"anew")])
    assert found(answers) == b"anew"
    store.suspend(ca="citizen", serial=SERIAL, at=NOW)
    assert found(answers) is None


def test_what_is_kept_in_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    monkeypatch.setattr(presigned_answers, "MAX_TOLD", 1)
    answers.keep([KEPT])
    for hash_name, der in (("sha1", b"to SHA-1"), ("sha256", b"to SHA-256")) * 2:
        assert found(answers, hash_name=hash_name) == der
        assert len(answers._told) == 1


def test_what_a_clock_that_was_ahead_signed_is_not_found(answers: Answers) -> None:
    answers.keep([KEPT])
    assert found(answers, NOW - timedelta(seconds=1)) is None


def test_nothing_is_found_or_kept_while_answers_are_on_hold(
    engine: Engine, answers: Answers
) -> None:
    answers.keep([KEPT])
    SqlAnswerHolds(engine).place(reason=AnswerHoldReason.BEHIND, at=NOW)
    for refused in (
        lambda: found(answers),
        lambda: answers.keep([KEPT]),
        lambda: answers.records_of([SERIAL]),
        lambda: answers.take_due(limit=1, at=NOW),
    ):
        with pytest.raises(AnswersOnHold):
            refused()
    SqlAnswerHolds(engine).release(statement="compared", at=NOW)
    assert found(answers) == b"to SHA-256"


def test_answers_of_another_delegate_authority_or_hash_are_not_found(
    engine: Engine, answers: Answers
) -> None:
    answers.keep([KEPT])
    other = SqlPresignedAnswers(engine, "citizen", sha256(b"another").digest())
    assert found(other) is None
    assert found(SqlPresignedAnswers(engine, "service", DELEGATE)) is None
    assert found(answers, hash_name="sha512") is None


def test_either_hash_has_its_answer_and_the_newer_one_counts(answers: Answers) -> None:
    answers.keep([KEPT])
    assert found(answers, hash_name="sha1") == b"to SHA-1"
    answers.keep([replace(KEPT, sha1=b"newer")])
    assert found(answers, hash_name="sha1") == b"newer"


def test_only_what_was_asked_for_is_due_and_one_process_has_it(answers: Answers) -> None:
    answers.keep([KEPT])
    due_at = NOW + LIFE / 2
    assert answers.take_due(limit=9, at=due_at) == ()
    answers.note_asked([SERIAL], NOW)
    assert answers.take_due(limit=9, at=due_at - timedelta(seconds=1)) == ()
    (taken,) = answers.take_due(limit=9, at=due_at)
    assert (taken.record.serial, taken.revision) == (SERIAL, 0)
    assert answers.take_due(limit=9, at=due_at) == ()
    assert len(answers.take_due(limit=9, at=due_at + CLAIM_LIFE)) == 1


# --- the lane -------------------------------------------------------------------------------------


class Desk:
    """A listener's service with its lane, and a clock that stands."""

    def __init__(self, engine: Engine, sign: Callable[[], None] = lambda: None) -> None:
        self.at = NOW
        self.is_today = True
        self.store = SqlCertificateStore(engine)
        key = PKI.delegate.key

        class Signing(ResponderCa):
            def sign(self, data: bytes) -> tuple[bytes, bytes]:
                sign()
                return super().sign(data)

        ca = Signing("citizen", PKI.citizen_ca.certificate, PKI.delegate.certificate, key)
        self.ca = ca
        self.lane = PresignedLane(
            ca,
            SqlPresignedAnswers(engine, "citizen", sha256(ca.delegate_der).digest()),
            validity=LIFE,
            require_agreement=self.require_today,
            clock=lambda: self.at,
        )
        self.service = OcspService(
            [ca],
            self.store,
            lambda: self.at,
            busy=(NotToday, AnswersOnHold),
            require_agreement=self.require_today,
            presigned={"citizen": self.lane},
        )

    def question(self, serial: int) -> Question:
        return Question(self.ca, self.ca.cert_id("sha256", serial), None)

    def require_today(self) -> None:
        if not self.is_today:
            raise NotToday

    def ask(self, *, nonce: bool = False, certid_hash: CertIdHash = CertIdHash.SHA256) -> Answer:
        query = build_query(
            LEAF,
            PKI.citizen_ca.certificate,
            certid_hash=certid_hash,
            nonce=NonceMode.REQUIRE if nonce else NonceMode.OFF,
            random_bytes=bytes,
        )
        return self.service.answer(query.der, "citizen")

    def status(self) -> x509_ocsp.OCSPCertStatus:
        return x509_ocsp.load_der_ocsp_response(self.ask().der).certificate_status


@pytest.fixture
def desk(engine: Engine, store: SqlCertificateStore) -> Desk:
    return Desk(engine)


def test_the_second_answer_was_signed_beforehand(desk: Desk) -> None:
    first = desk.ask()
    assert not first.presigned
    assert first.next_update == NOW + timedelta(minutes=10)
    assert not desk.lane.run_once()
    for certid_hash in CertIdHash:
        second = desk.ask(certid_hash=certid_hash)
        assert second.presigned
        assert second.cacheable
        assert (second.this_update, second.next_update) == (NOW, NOW + LIFE)
        response = x509_ocsp.load_der_ocsp_response(second.der)
        assert response.hash_algorithm.name == certid_hash.value
    assert not desk.ask(nonce=True).presigned


def test_what_nobody_may_keep_is_not_signed_beforehand(desk: Desk) -> None:
    desk.ask(nonce=True)
    desk.lane.run_once()
    assert not desk.ask().presigned


def test_an_answer_that_is_asked_for_is_refreshed_by_half_time(desk: Desk) -> None:
    desk.ask()
    desk.lane.run_once()
    desk.at = NOW + LIFE / 2
    desk.lane.run_once()
    assert desk.ask().this_update == NOW  # nobody had asked for it
    desk.lane.run_once()
    assert desk.ask().this_update == desk.at
    desk.at = NOW + 2 * LIFE
    assert not desk.ask().presigned
    desk.lane.purge()


def test_what_a_clock_that_was_ahead_signed_is_signed_anew(desk: Desk) -> None:
    desk.at = NOW + LIFE
    desk.ask()
    desk.lane.run_once()
    desk.at = NOW
    assert not desk.ask().presigned
    desk.lane.run_once()
    assert (desk.ask().presigned, desk.ask().this_update) == (True, NOW)


def test_many_certificates_are_signed_for_batch_by_batch(desk: Desk) -> None:
    for serial in range(1, BATCH + 2):
        desk.store.register(ca="citizen", serial=serial, subject="CN=x", not_after=NOW)
        desk.lane.note_answered(desk.question(serial), Answer(b"", cacheable=True))
    assert desk.lane.run_once()
    assert not desk.lane.run_once()


def test_no_answer_leaves_or_is_signed_while_the_records_are_in_doubt(desk: Desk) -> None:
    desk.ask()
    desk.is_today = False
    with pytest.raises(NotToday):
        desk.lane.run_once()
    desk.is_today = True
    desk.ask()
    desk.lane.run_once()
    desk.is_today = False
    assert desk.ask().declined is Declined.TRY_LATER


def test_an_expired_delegate_signs_nothing_beforehand(desk: Desk) -> None:
    desk.ask()
    desk.at = PKI.delegate.certificate.not_valid_after_utc
    desk.lane.run_once()
    assert desk.ask().declined is Declined.INTERNAL_ERROR


def test_a_revocation_while_an_answer_is_being_signed_is_in_the_next_answer_of_all(
    database: Database, store: SqlCertificateStore
) -> None:
    """The commit falls between the reading of the record and the keeping of the answer."""
    operator = SqlCertificateStore(database.engine(Realm.PKI))
    revoking = [False]

    def sign() -> None:
        if revoking[0]:
            revoking[0] = False
            operator.revoke(ca="citizen", serial=SERIAL, at=NOW, reason="keyCompromise")

    one, other = Desk(database.engine(Realm.PKI), sign), Desk(database.engine(Realm.PKI))
    assert one.status() is GOOD
    revoking[0] = True
    one.lane.run_once()
    assert not revoking[0]
    for desk in (one, other):
        assert desk.status() is REVOKED
        assert not desk.ask().presigned
    one.lane.run_once()
    for desk in (one, other):
        assert desk.status() is REVOKED
        assert desk.ask().presigned


@pytest.mark.parametrize("rounds", [6, pytest.param(200, marks=pytest.mark.long)])
def test_revocations_race_answers_that_are_being_signed(
    database: Database, store: SqlCertificateStore, rounds: int
) -> None:
    """Two listeners sign all the time; what they say after a change is committed, is the change."""
    desks = [Desk(database.engine(Realm.PKI)) for _ in range(2)]
    stopping = threading.Event()

    def keep_signing(desk: Desk) -> None:
        while not stopping.is_set():
            desk.lane.note_answered(desk.question(SERIAL), Answer(b"", cacheable=True))
            desk.lane.run_once()

    threads = [threading.Thread(target=keep_signing, args=(desk,)) for desk in desks]
    for thread in threads:
        thread.start()
    try:
        for _ in range(rounds):
            store.suspend(ca="citizen", serial=SERIAL, at=NOW)
            assert [desk.status() for desk in desks] == [REVOKED, REVOKED]
            store.restore(ca="citizen", serial=SERIAL, at=NOW)
            assert [desk.status() for desk in desks] == [GOOD, GOOD]
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
