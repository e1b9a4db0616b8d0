"""OCSP answers signed beforehand: kept for one revision of a certificate's record, and no other.

A revocation counts that revision up and removes the answer in one transaction. An answer that was
being signed meanwhile is not kept: keeping it takes a lock on the certificate's record and compares
the revisions, so of the two one waits for the other. And an answer is found only together with a
record of its very revision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    and_,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from webapi.storage.answer_holds import IS_ON_HOLD, AnswersOnHold, require_no_hold
from webapi.storage.certificates import (
    CertificateRecord,
    issued_certificates,
    presigned_answers,
    record_of,
)
from webapi.storage.quick_look import QuickLook
from webapi.storage.quick_look import Row as Look
from webapi.storage.sqlite import reading
from webapi.storage.times import from_unix, to_unix

CLAIM_LIFE = timedelta(seconds=30)
"""For so long whoever took an answer to be signed anew has it for itself."""


MAX_TOLD = 4_096
"""Answers that are kept in memory to be compared with what the database says."""


@dataclass(frozen=True, slots=True)
class PresignedAnswer:
    """An answer that may be sent.

    Attributes:
        der: the encoded OCSPResponse.
        this_update: of the answer.
        next_update: of the answer.
    """

    der: bytes = field(repr=False)
    this_update: datetime
    next_update: datetime


@dataclass(frozen=True, slots=True)
class RecordToAnswer:
    """What is to be said of a certificate.

    Attributes:
        record: its present state.
        revision: of that state.
    """

    record: CertificateRecord
    revision: int


@dataclass(frozen=True, slots=True)
class AnswerToKeep:
    """An answer that was signed beforehand, for CertIDs of both hashes.

    Attributes:
        serial: of the certificate.
        revision: of the record that it was made from.
        this_update: of the answer.
        next_update: of the answer.
        refresh_at: when the next one is due.
        sha1: encoded OCSPResponse to a CertID with SHA-1.
        sha256: likewise with SHA-256.
    """

    serial: int
    revision: int
    this_update: datetime
    next_update: datetime
    refresh_at: datetime
    sha1: bytes = field(repr=False)
    sha256: bytes = field(repr=False)


_answers, _records = presigned_answers.c, issued_certificates.c
_OF_ONE_REVISION = and_(
    _answers.ca == _records.ca,
    _answers.serial == _records.serial,
    _answers.revision == _records.revision,
)
# One statement, because it is asked with every request.
_FINDING = {
    hash_name: select(IS_ON_HOLD, _answers.this_update, _answers.next_update, _answers[hash_name])
    .select_from(presigned_answers.join(issued_certificates, _OF_ONE_REVISION))
    .where(
        _answers.ca == bindparam("ca"),
        _answers.serial == bindparam("serial"),
        _answers.delegate == bindparam("delegate"),
        # Not of a clock that was ahead: nobody accepts that before its time.
        _answers.this_update <= bindparam("at"),
        _answers.next_update > bindparam("at"),
    )
    for hash_name in ("sha1", "sha256")
}


class SqlPresignedAnswers:
    """The answers of one CA that were signed beforehand, and which are to be.

    Args:
        engine: of the realm.
        ca: the CA's name.
        delegate: SHA-256 of the certificate of the delegate that signs now; answers that another
            signed are not found.
    """

    def __init__(self, engine: Engine, ca: str, delegate: bytes) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._ca = ca
        self._delegate = delegate
        # What the database said last: spared is the making of objects, not the asking.
        self._told: dict[tuple[int, str], tuple[Look, PresignedAnswer]] = {}
        self._finding = {name: QuickLook(engine, query) for name, query in _FINDING.items()}

    def find(self, serial: int, hash_name: str, at: datetime) -> PresignedAnswer | None:
        """The answer to a CertID of this hash that is good at this time; None if there is none.

        The database is asked each time. While it says the same, the same object is returned.

        Raises:
            AnswersOnHold: the records were restored, and nobody has compared them yet.
        """
        finding = self._finding.get(hash_name)
        if finding is None:
            return None
        values = {
            "ca": self._ca,
            "serial": f"{serial:x}",
            "delegate": self._delegate,
            "at": to_unix(at),
        }
        row = finding.one(values)
        if row is None:
            return None
        is_on_hold, this_update, next_update, der = row
        if is_on_hold:
            raise AnswersOnHold("the records of certificates were put back and not yet compared")
        name = (serial, hash_name)
        told = self._told.get(name)
        if told is None or told[0] != row:
            told = (row, PresignedAnswer(der, from_unix(this_update), from_unix(next_update)))
            if len(self._told) >= MAX_TOLD:
                self._told.clear()
            self._told[name] = told
        return told[1]

    def note_asked(self, serials: Iterable[int], at: datetime) -> None:
        """Remember that certificates were asked about: their answers are refreshed."""
        asked = [f"{serial:x}" for serial in serials]
        noting = (
            update(presigned_answers)
            .where(_answers.ca == self._ca, _answers.serial.in_(asked))
            .values(asked_at=to_unix(at))
        )
        with self._engine.begin() as connection:
            connection.execute(noting)

    def records_of(self, serials: Iterable[int]) -> tuple[RecordToAnswer, ...]:
        """What is to be said of these certificates, those left out that were not issued.

        Raises:
            AnswersOnHold: nothing.
        """
        asked = [f"{serial:x}" for serial in serials]
        query = select(issued_certificates).where(
            _records.ca == self._ca, _records.serial.in_(asked)
        )
        with self._reading.begin() as connection:
            require_no_hold(connection)
            return tuple(map(_to_answer, connection.execute(query)))

    def take_due(self, *, limit: int, at: datetime) -> tuple[RecordToAnswer, ...]:
        """Certificates asked about since their answer was signed, whose next one is due.

        Whoever takes them has CLAIM_LIFE to keep the next answers; then others may.

        Raises:
            AnswersOnHold: nothing is to be said of any.
        """
        query = (
            select(issued_certificates)
            .join(presigned_answers, _OF_ONE_REVISION)
            .where(_answers.ca == self._ca, _answers.refresh_at <= to_unix(at))
            .where(_answers.asked_at >= _answers.this_update)
            .order_by(_answers.refresh_at)
            .limit(limit)
            .with_for_update(of=presigned_answers, skip_locked=True)
        )
        with self._engine.begin() as connection:
            require_no_hold(connection)
            taken = tuple(map(_to_answer, connection.execute(query)))
            if taken:
                self._claim(connection, taken, to_unix(at + CLAIM_LIFE))
        return taken

    def keep(self, answers: Sequence[AnswerToKeep]) -> int:
        """Keep answers whose certificates' records are still of the revision they were made from.

        Returns:
            How many were kept.

        Raises:
            AnswersOnHold: none, because the records are in doubt.
        """
        by_serial = {f"{answer.serial:x}": answer for answer in answers}
        locking = (
            select(_records.serial, _records.revision)
            .where(_records.ca == self._ca, _records.serial.in_(by_serial))
            .order_by(_records.serial)  # for all alike, so that no two wait for each other
            .with_for_update()
        )
        kept = 0
        with self._engine.begin() as connection:
            require_no_hold(connection)
            for row in connection.execute(locking):
                answer = by_serial[row.serial]
                if answer.revision == row.revision:
                    self._put(connection, row.serial, answer)
                    kept += 1
        return kept

    def purge(self, at: datetime) -> None:
        """Remove answers that are over: nobody asked since they were signed."""
        over = delete(presigned_answers).where(
            _answers.ca == self._ca, _answers.next_update <= to_unix(at)
        )
        with self._engine.begin() as connection:
            connection.execute(over)

    def _claim(self, connection: Connection, taken: Sequence[RecordToAnswer], until: int) -> None:
        serials = [f"{to_answer.record.serial:x}" for to_answer in taken]
        connection.execute(
            update(presigned_answers)
            .where(_answers.ca == self._ca, _answers.serial.in_(serials))
            .values(refresh_at=until)
        )

    def _put(self, connection: Connection, serial: str, answer: AnswerToKeep) -> None:
        """Within a transaction that holds the certificate's record."""
        values = {
            "revision": answer.revision,
            "delegate": self._delegate,
            "this_update": to_unix(answer.this_update),
            "next_update": to_unix(answer.next_update),
            "refresh_at": to_unix(answer.refresh_at),
            "sha1": answer.sha1,
            "sha256": answer.sha256,
        }
        of_this = and_(_answers.ca == self._ca, _answers.serial == serial)
        replacing = update(presigned_answers).where(of_this).values(values)
        if not connection.execute(replacing).rowcount:
            connection.execute(
                insert(presigned_answers).values(ca=self._ca, serial=serial, **values)
            )


# Rows are tuples of database types that SQLAlchemy does not tell the type checker.
def _to_answer(row: "Row[tuple[object, ...]]") -> RecordToAnswer:
    return RecordToAnswer(record_of(row), row.revision)
