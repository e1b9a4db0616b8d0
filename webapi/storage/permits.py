"""The ledger of signing permits: reserved in one transaction, spent by one statement.

`reserve_permits_in` and `spend_permits_in` work in a transaction that is the caller's, so that an
intent, a fence or a row of idempotency is written together with them or not at all (ADR 0013).
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    String,
    Table,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from signer.audit.entry import PermitReserved, RangeEnded, RangeReserved
from signer.errors import PermitAlreadySpent, PermitExists, PermitUnknown
from signer.payload import Purpose
from signer.permit import PermitRecord
from signer.permit_range import RangeEnd, RangeRecord
from webapi.storage.audit import append_entries, require_not_behind
from webapi.storage.schema import EVERY_REALM, runtime_may
from webapi.storage.times import to_unix

permits = Table(
    "permits",
    EVERY_REALM,
    Column("permit_id", String(32), primary_key=True),
    Column("purpose", String(64), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("spent_at", BigInteger, nullable=True),
    # A hidden row number would tell between which logins a ballot's checkpoint was signed.
    sqlite_with_rowid=False,
    info=runtime_may(update=("spent_at",)),
)

permit_ranges = Table(
    "permit_ranges",
    EVERY_REALM,
    Column("range_id", String(32), primary_key=True),
    Column("purpose", String(64), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    # How many numbers were given out, and the root over their digests, once it has ended.
    Column("used", BigInteger, nullable=True),
    Column("root", LargeBinary(32), nullable=True),
    sqlite_with_rowid=False,
    info=runtime_may(update=("used", "root")),
)


class SqlPermitLedger:
    """`signer.permit.PermitLedger` and `signer.permit_range.RangeLedger` of one realm."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def reserve(self, records: Sequence[PermitRecord]) -> None:
        """Record permits that are not yet spent, and an audit entry for each of them.

        Raises:
            PermitExists: a permit of one of these ids is recorded.
            AuditBehind: too much waits to be sealed in the audit log.
        """
        try:
            with self._engine.begin() as connection:
                reserve_permits_in(connection, records)
        except IntegrityError as e:
            raise PermitExists("a permit of this id is recorded") from e

    def spend(self, permit_ids: Sequence[str], at: datetime) -> None:
        """Mark permits as spent, all or none; of simultaneous calls for one permit one succeeds.

        Raises:
            PermitUnknown: one was never recorded.
            PermitAlreadySpent: one was spent before.
        """
        with self._engine.begin() as connection:
            spend_permits_in(connection, permit_ids, at)

    def reserve_range(self, record: RangeRecord) -> None:
        """Record a range, and its audit entry.

        Raises:
            PermitExists: a range of this id is recorded.
            AuditBehind: too much waits to be sealed in the audit log.
        """
        issued_at = to_unix(record.issued_at)
        values = {
            "range_id": record.range_id,
            "purpose": str(record.purpose),
            "owner": record.owner,
            "count": record.count,
            "issued_at": issued_at,
            "expires_at": to_unix(record.expires_at),
        }
        try:
            with self._engine.begin() as connection:
                require_not_behind(connection, at=issued_at)
                connection.execute(insert(permit_ranges).values(values))
                append_entries(connection, [RangeReserved.of(record)], at=issued_at)
        except IntegrityError as e:
            raise PermitExists("a range of this id is recorded") from e

    def end_range(self, end: RangeEnd) -> None:
        """Record what became of a range, and its audit entry; nothing, if just that is recorded.

        Raises:
            PermitUnknown: no range of this id was reserved, or it ended otherwise.
        """
        ending = (
            update(permit_ranges)
            .where(permit_ranges.c.range_id == end.range_id, permit_ranges.c.used.is_(None))
            .values(used=end.used, root=end.root)
            .returning(permit_ranges.c.issued_at)
        )
        recorded = select(permit_ranges.c.used, permit_ranges.c.root).where(
            permit_ranges.c.range_id == end.range_id
        )
        with self._engine.begin() as connection:
            row = connection.execute(ending).one_or_none()
            if row is None:
                if connection.execute(recorded).one_or_none() == (end.used, end.root):
                    return
                raise PermitUnknown("no range of this id is open")
            append_entries(connection, [RangeEnded.of(end)], at=row.issued_at)


def reserve_permits_in(connection: Connection, records: Sequence[PermitRecord]) -> None:
    """Record permits and their audit entries in a transaction that the caller has begun.

    Raises:
        AuditBehind: too much waits to be sealed in the audit log; a seal's permit is exempt.
        sqlalchemy.exc.IntegrityError: a permit of one of these ids is recorded.
    """
    at = to_unix(records[0].issued_at)
    of_seal = all(record.purpose is Purpose.AUDIT for record in records)
    if not of_seal:
        require_not_behind(connection, at=at)
    connection.execute(insert(permits), [_row(record) for record in records])
    entries = [PermitReserved.of(record) for record in records]
    append_entries(connection, entries, at=at, of_seal=of_seal)


def spend_permits_in(connection: Connection, permit_ids: Sequence[str], at: datetime) -> None:
    """Mark permits as spent, all or none, in a transaction that the caller has begun.

    Raises:
        PermitUnknown, PermitAlreadySpent: as `signer.permit.PermitLedger.spend`; the caller's
            transaction must end with it.
    """
    chosen = permits.c.permit_id.in_(permit_ids)
    spending = (
        update(permits).where(chosen, permits.c.spent_at.is_(None)).values(spent_at=to_unix(at))
    )
    if connection.execute(spending).rowcount == len(permit_ids):
        return
    known = connection.execute(select(func.count()).select_from(permits).where(chosen)).scalar_one()
    if known < len(permit_ids):
        raise PermitUnknown("no permit of this id was recorded")
    raise PermitAlreadySpent("the permit was used before")


def _row(record: PermitRecord) -> dict[str, object]:
    return {
        "permit_id": record.permit_id,
        "purpose": str(record.purpose),
        "owner": record.owner,
        "digest": record.digest,
        "issued_at": to_unix(record.issued_at),
        "expires_at": to_unix(record.expires_at),
    }
