"""The generations of a realm's audit log: which one is active is a row, never removed or changed.

Places (`audit_entries.seq`) are counted through all generations; each row says where its own
begin. The first generation has no row.
"""

from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    String,
    Table,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from signer.audit.entry import MAX_OWNER_BYTES, MAX_REASON_BYTES, BegunAnew, encode_entry
from signer.audit.records import StoredGeneration
from signer.audit.sealing import FIRST_GENERATION, audit_log_id
from signer.receipts.errors import FenceLost
from signer.receipts.leaf import SLOT_SECONDS
from webapi.storage.audit import audit_checkpoints, audit_entries
from webapi.storage.realm import Realm
from webapi.storage.schema import EVERY_REALM, runtime_may

audit_generations = Table(
    "audit_generations",
    EVERY_REALM,
    # The primary key is the fence: a generation begins once.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("first_seq", BigInteger, nullable=False),
    # What its first entry says.
    Column("previous", String(MAX_OWNER_BYTES), nullable=False),
    Column("known_size", BigInteger, nullable=False),
    Column("known_root", LargeBinary(32), nullable=False),
    Column("database_size", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reason", String(MAX_REASON_BYTES), nullable=False),
    info=runtime_may(),
)


@dataclass(frozen=True, slots=True)
class AuditGeneration:
    """Which entries a generation has.

    Attributes:
        number: 1 for the first.
        first_seq: the place of its first entry, counted through all generations.
        end_seq: where the next one begins; None for the active one.
    """

    number: int = FIRST_GENERATION
    first_seq: int = 0
    end_seq: int | None = None


FIRST = AuditGeneration()


class SqlAuditGenerations:
    """The generations of one realm's audit log."""

    def __init__(self, engine: Engine, realm: Realm) -> None:
        self._engine = engine
        self._realm = realm

    def stored(self) -> tuple[StoredGeneration, ...]:
        """Those after the first, the oldest first."""
        query = select(audit_generations).order_by(audit_generations.c.number)
        with self._engine.begin() as connection:
            return tuple(StoredGeneration(*row) for row in connection.execute(query))

    def all(self) -> tuple[AuditGeneration, ...]:
        """All of them, the oldest first; the active one is the last."""
        starts = [(FIRST.number, FIRST.first_seq)]
        starts += [(row.number, row.first_seq) for row in self.stored()]
        ends = [first_seq for _, first_seq in starts[1:]]
        return tuple(
            AuditGeneration(number, first_seq, end_seq)
            for (number, first_seq), end_seq in zip(starts, [*ends, None], strict=True)
        )

    def active(self) -> AuditGeneration:
        """The one that is sealed."""
        return self.all()[-1]

    def begin(self, beginning: BegunAnew, *, after: AuditGeneration) -> None:
        """Begin a generation with its entry; what was placed and not sealed waits again.

        Args:
            beginning: its first entry.
            after: the one that was active when the entry was made.

        Raises:
            FenceLost: another one is active by now.
        """
        try:
            with self._engine.begin() as connection:
                require_active(connection, after)
                first_seq = after.first_seq + self._sealed(connection, after)
                connection.execute(
                    update(audit_entries).where(audit_entries.c.seq >= first_seq).values(seq=None)
                )
                connection.execute(
                    insert(audit_generations).values(
                        number=beginning.generation,
                        first_seq=first_seq,
                        previous=beginning.previous,
                        known_size=beginning.known_size,
                        known_root=beginning.known_root,
                        database_size=beginning.database_size,
                        at=beginning.at,
                        reason=beginning.reason,
                    )
                )
                connection.execute(
                    insert(audit_entries).values(
                        entry=encode_entry(beginning),
                        slot=beginning.at // SLOT_SECONDS,
                        of_seal=False,
                        seq=first_seq,
                    )
                )
        except IntegrityError as error:
            raise FenceLost("this generation of the audit log has begun") from error

    def _sealed(self, connection: Connection, generation: AuditGeneration) -> int:
        name = audit_log_id(str(self._realm), generation.number)
        query = select(func.coalesce(func.max(audit_checkpoints.c.size), 0)).where(
            audit_checkpoints.c.log_id == name
        )
        size: int = connection.execute(query).scalar_one()
        return size


def require_active(connection: Connection, generation: AuditGeneration) -> None:
    """Within a transaction of the caller's.

    Raises:
        FenceLost: a later generation has begun.
    """
    newest = select(func.max(audit_generations.c.number))
    found = connection.execute(newest).scalar_one()
    if generation.number != (FIRST_GENERATION if found is None else found):
        raise FenceLost("a later generation of the audit log has begun")
