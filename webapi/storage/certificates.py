"""The certificates that our CAs issued, and the present state of each.

States change by one conditional statement, so that two operators cannot both succeed. A revoked
certificate never comes back; only a suspended one does. Each change is in the audit log, so that a
database from before a revocation is noticed.

A change counts up the revision of the certificate's record, removes the answers that were signed
beforehand and makes a new revocation list due, all in one transaction. Whoever signs an answer
beforehand keeps it for the revision that it read and no other (`webapi.storage.presigned_answers`).
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Index,
    LargeBinary,
    Row,
    String,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from signer.audit.entry import CertificateChanged
from webapi.storage.answer_holds import IS_ON_HOLD, AnswersOnHold, require_no_hold
from webapi.storage.audit import append_entries
from webapi.storage.crls import count_change_in
from webapi.storage.errors import StorageError
from webapi.storage.quick_look import QuickLook
from webapi.storage.schema import PKI, runtime_may
from webapi.storage.sqlite import reading
from webapi.storage.times import from_unix, to_unix

REVOCATION_REASONS = (
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "privilegeWithdrawn",
)
"""RFC 5280 section 5.3.1 without certificateHold and removeFromCRL, which are suspension's."""


class CertificateState(StrEnum):
    """What a CA says about a certificate that it issued."""

    GOOD = "good"
    SUSPENDED = "suspended"
    REVOKED = "revoked"


issued_certificates = Table(
    "issued_certificates",
    PKI,
    Column("ca", String(64), primary_key=True),
    # Hexadecimal: a serial number has up to 160 bits.
    Column("serial", String(40), primary_key=True),
    Column("subject", String(1024), nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("since", BigInteger, nullable=True),
    Column("reason", String(32), nullable=True),
    # How often the state changed.
    Column("revision", BigInteger, nullable=False),
    CheckConstraint("state IN ('good', 'suspended', 'revoked')", name="state"),
    CheckConstraint("(state = 'good') = (since IS NULL)", name="since"),
    CheckConstraint("(state = 'revoked') = (reason IS NOT NULL)", name="reason"),
    info=runtime_may(update=("state", "since", "reason", "revision")),
)

presigned_answers = Table(
    "presigned_answers",
    PKI,
    Column("ca", String(64), primary_key=True),
    Column("serial", String(40), primary_key=True),
    # Of the certificate's record when it was read.
    Column("revision", BigInteger, nullable=False),
    # SHA-256 of the delegate's certificate.
    Column("delegate", LargeBinary(32), nullable=False),
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("refresh_at", BigInteger, nullable=False),
    Column("asked_at", BigInteger, nullable=True),
    # The twins: the answer to a CertID of either hash.
    Column("sha1", LargeBinary, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Index("ix_presigned_answers_refresh", "ca", "refresh_at"),
    info=runtime_may(
        update=(
            "revision",
            "delegate",
            "this_update",
            "next_update",
            "refresh_at",
            "asked_at",
            "sha1",
            "sha256",
        ),
        delete=True,
    ),
)


class CertificateRecordError(StorageError):
    """Root of what a change of state can fail by."""


class CertificateNotRecorded(CertificateRecordError):
    """No such certificate was registered."""


class CertificateRecordedOtherwise(CertificateRecordError):
    """The serial number is registered with another subject or end."""


class CertificateStateWrong(CertificateRecordError):
    """The certificate is in a state from which this change is not lawful.

    Attributes:
        state: the state that it is in.
    """

    def __init__(self, state: CertificateState) -> None:
        super().__init__(f"the certificate is {state}")
        self.state = state


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """One issued certificate.

    Attributes:
        ca: name of the issuing CA.
        serial: its serial number.
        subject: RFC 4514 text.
        not_after: end of its validity, UTC.
        state: the present state.
        since: start of suspension or revocation, None while good.
        reason: one of REVOCATION_REASONS, None unless revoked.
    """

    ca: str
    serial: int
    subject: str
    not_after: datetime
    state: CertificateState = CertificateState.GOOD
    since: datetime | None = None
    reason: str | None = None


_columns = issued_certificates.c
# One row whether the certificate was issued or not, because the holds are in it.
_TELLING = select(
    IS_ON_HOLD,
    _columns.ca,
    _columns.serial,
    _columns.subject,
    _columns.not_after,
    _columns.state,
    _columns.since,
    _columns.reason,
).select_from(
    select(literal_column("1"))
    .subquery()
    .outerjoin(
        issued_certificates,
        and_(_columns.ca == bindparam("ca"), _columns.serial == bindparam("serial")),
    )
)


class SqlCertificateStore:
    """Registration, suspension, restoration, revocation and status of issued certificates."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._telling = QuickLook(engine, _TELLING)

    def register(self, *, ca: str, serial: int, subject: str, not_after: datetime) -> None:
        """Record an issued certificate as good; the same one again changes nothing.

        Raises:
            CertificateRecordedOtherwise: the CA's serial number belongs to another certificate.
        """
        new = insert(issued_certificates).values(
            ca=ca,
            serial=f"{serial:x}",
            state=CertificateState.GOOD.value,
            subject=subject,
            not_after=to_unix(not_after),
            revision=0,
        )
        try:
            with self._engine.begin() as connection:
                connection.execute(new)
        except IntegrityError as error:
            # No record is ever removed, so whatever was in the way is still there.
            with self._engine.begin() as connection:
                present = _find(connection, ca, serial)
            if present is None:
                raise
            if (present.subject, present.not_after) != (subject, to_unix(not_after)):
                raise CertificateRecordedOtherwise(
                    f"{ca} has issued {serial:x} to another"
                ) from error

    def suspend(self, *, ca: str, serial: int, at: datetime) -> None:
        """Put a good certificate on hold.

        Raises:
            CertificateNotRecorded, CertificateStateWrong: unknown; suspended or revoked already.
        """
        good = (CertificateState.GOOD,)
        self._change(ca, serial, good, CertificateState.SUSPENDED, at=at)

    def restore(self, *, ca: str, serial: int, at: datetime) -> None:
        """Release a suspended certificate; a revoked one is never released.

        Raises:
            CertificateNotRecorded, CertificateStateWrong: unknown; good or revoked.
        """
        self._change(ca, serial, (CertificateState.SUSPENDED,), CertificateState.GOOD, at=at)

    def revoke(self, *, ca: str, serial: int, at: datetime, reason: str) -> None:
        """Revoke for good, from good or suspended.

        Args:
            ca: name of the issuing CA.
            serial: serial number.
            at: now.
            reason: one of REVOCATION_REASONS.

        Raises:
            ValueError: another reason.
            CertificateNotRecorded, CertificateStateWrong: unknown; revoked already.
        """
        if reason not in REVOCATION_REASONS:
            raise ValueError(f"{reason!r} is no reason to revoke")
        alive = (CertificateState.GOOD, CertificateState.SUSPENDED)
        self._change(ca, serial, alive, CertificateState.REVOKED, at=at, reason=reason)

    def status(self, ca: str, serial: int) -> CertificateRecord | None:
        """The record of a serial number of a CA, None if it never issued it."""
        with self._reading.begin() as connection:
            row = _find(connection, ca, serial)
        return None if row is None else record_of(row)

    def status_to_tell(self, ca: str, serial: int) -> CertificateRecord | None:
        """What `status` returns, for those who rely on it.

        Raises:
            AnswersOnHold: the records were restored, and nobody has compared them yet.
        """
        row = self._telling.one({"ca": ca, "serial": f"{serial:x}"})
        if row is None or row[0]:
            raise AnswersOnHold("the records of certificates were put back and not yet compared")
        _, name, told_serial, subject, not_after, state, since, reason = row
        if name is None:
            return None
        return CertificateRecord(
            ca=name,
            serial=int(told_serial, 16),
            subject=subject,
            not_after=from_unix(not_after),
            state=CertificateState(state),
            since=None if since is None else from_unix(since),
            reason=reason,
        )

    def find(self, serial: int) -> tuple[CertificateRecord, ...]:
        """The records of all CAs that have this serial number."""
        query = select(issued_certificates).where(issued_certificates.c.serial == f"{serial:x}")
        with self._reading.begin() as connection:
            return tuple(record_of(row) for row in connection.execute(query))

    def records(self) -> tuple[CertificateRecord, ...]:
        """Every issued certificate, by CA and subject."""
        columns = issued_certificates.c
        query = select(issued_certificates).order_by(columns.ca, columns.subject, columns.serial)
        with self._reading.begin() as connection:
            return tuple(record_of(row) for row in connection.execute(query))

    def listed(
        self, ca: str, *, not_expired_before: datetime | None
    ) -> tuple[CertificateRecord, ...]:
        """What belongs on a revocation list: suspended and revoked certificates of a CA.

        Args:
            ca: name of the issuing CA.
            not_expired_before: those whose validity ended earlier are left out; None leaves
                none out.

        Raises:
            AnswersOnHold: the records were restored, and nobody has compared them yet.
        """
        columns = issued_certificates.c
        query = select(issued_certificates).where(
            columns.ca == ca, columns.state != CertificateState.GOOD.value
        )
        if not_expired_before is not None:
            query = query.where(columns.not_after >= to_unix(not_expired_before))
        with self._reading.begin() as connection:
            require_no_hold(connection)
            return tuple(record_of(row) for row in connection.execute(query))

    def _change(
        self,
        ca: str,
        serial: int,
        lawful_from: tuple[CertificateState, ...],
        to: CertificateState,
        *,
        at: datetime,
        reason: str | None = None,
    ) -> None:
        columns = issued_certificates.c
        now = to_unix(at)
        since = None if to is CertificateState.GOOD else now
        told = CertificateChanged(to.value, ca, f"{serial:x}", now, reason or "")
        statement = (
            update(issued_certificates)
            .where(and_(columns.ca == ca, columns.serial == f"{serial:x}"))
            .where(columns.state.in_([state.value for state in lawful_from]))
            .values(state=to.value, since=since, reason=reason, revision=columns.revision + 1)
        )
        answers = presigned_answers.c
        forgetting = delete(presigned_answers).where(
            answers.ca == ca, answers.serial == f"{serial:x}"
        )
        with self._engine.begin() as connection:
            if connection.execute(statement).rowcount == 1:
                # Behind the change: an answer that was kept while it waited is seen by now.
                connection.execute(forgetting)
                count_change_in(connection, ca)
                append_entries(connection, [told], at=now)
                return
            present = _find(connection, ca, serial)
        if present is None:
            raise CertificateNotRecorded(f"{ca} has not issued {serial:x}")
        raise CertificateStateWrong(CertificateState(present.state))


# Rows are tuples of database types that SQLAlchemy does not tell the type checker.
def _find(connection: Connection, ca: str, serial: int) -> "Row[tuple[object, ...]] | None":
    columns = issued_certificates.c
    query = select(issued_certificates).where(columns.ca == ca, columns.serial == f"{serial:x}")
    return connection.execute(query).one_or_none()


def record_of(row: "Row[tuple[object, ...]]") -> CertificateRecord:
    """The record in a row of `issued_certificates`."""
    return CertificateRecord(
        ca=row.ca,
        serial=int(row.serial, 16),
        subject=row.subject,
        not_after=from_unix(row.not_after),
        state=CertificateState(row.state),
        since=None if row.since is None else from_unix(row.since),
        reason=row.reason,
    )
