"""Audit entries: written in the very transaction of what they tell, and given places later.

An entry without a place costs its transaction one row and no lock that others wait for. The
worker gives places and seals (`webapi.storage.audit_log`).
"""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    func,
    insert,
    select,
)

from signer.audit.entry import AuditEntry, encode_entry
from signer.errors import AuditBehind
from signer.receipts.leaf import SLOT_SECONDS
from webapi.storage.schema import EVERY_REALM, runtime_may

MAX_UNSEALED_ENTRIES = 200_000
MAX_UNSEALED_SLOTS = 36
"""Beyond so many entries, or six hours, nothing more is signed until the log was sealed.

What waits could still be changed by whoever can change the database, so it must not grow without
end; and a token that is away for a night must not stop an election.
"""

audit_entries = Table(
    "audit_entries",
    EVERY_REALM,
    # In the order of writing; SQLite numbers rows only in a column of this type.
    Column("entry_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("entry", LargeBinary, nullable=False),
    # The ten-minute slot of its writing, no finer time; nothing where the writer has no clock.
    Column("slot", BigInteger, nullable=True),
    # Whether it tells of a seal's own permit, which is no reason for another seal.
    Column("of_seal", Boolean, nullable=False),
    # Its place, counted through all generations of the log.
    Column("seq", BigInteger, nullable=True, unique=True),
    Index("ix_audit_entries_waiting", "seq", "entry_id"),
    info=runtime_may(update=("seq",)),
)

audit_intents = Table(
    "audit_intents",
    EVERY_REALM,
    # The primary key is the fence: one root is ever signed for a size.
    Column("log_id", String(64), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("holder", String(32), nullable=False),
    info=runtime_may(update=("holder",)),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    EVERY_REALM,
    Column("log_id", String(64), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("previous_size", BigInteger, nullable=False),
    Column("released", Boolean, nullable=False),
    info=runtime_may(update=("released",)),
)


def append_entries(
    connection: Connection,
    entries: Sequence[AuditEntry],
    *,
    at: int | None,
    of_seal: bool = False,
) -> None:
    """Write entries that wait for their places, in the transaction of what they tell.

    Args:
        connection: in that transaction.
        entries: at least one.
        at: now, unix time, of which the ten-minute slot alone is kept; None if nobody knows.
        of_seal: whether they tell of a seal's own permit.
    """
    slot = None if at is None else at // SLOT_SECONDS
    connection.execute(
        insert(audit_entries),
        [{"entry": encode_entry(e), "slot": slot, "of_seal": of_seal} for e in entries],
    )


def require_not_behind(connection: Connection, *, at: int) -> None:
    """Refuse to let more be signed while too much waits to be sealed.

    Raises:
        AuditBehind: more than MAX_UNSEALED_ENTRIES, or for longer than MAX_UNSEALED_SLOTS.
    """
    newest = select(func.max(audit_entries.c.entry_id)).scalar_subquery().label("newest")
    oldest = (
        select(audit_entries.c.entry_id, audit_entries.c.slot, newest)
        .where(
            audit_entries.c.seq.is_(None),
            audit_entries.c.of_seal.is_(False),
            audit_entries.c.slot.is_not(None),
        )
        .order_by(audit_entries.c.entry_id)
        .limit(1)
    )
    row = connection.execute(oldest).one_or_none()
    if row is None:
        return
    if row.newest - row.entry_id >= MAX_UNSEALED_ENTRIES:
        raise AuditBehind("too many audit entries wait to be sealed")
    if at // SLOT_SECONDS - row.slot > MAX_UNSEALED_SLOTS:
        raise AuditBehind("an audit entry has waited for too long to be sealed")
