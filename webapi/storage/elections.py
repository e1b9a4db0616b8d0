"""Elections: manifest, order to close, and how far the public sees."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    Row,
    String,
    Table,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from signer.audit.entry import ElectionClosing, ElectionCreated
from signer.receipts.election import Manifest
from signer.receipts.errors import CloseConflict, ElectionExists, ElectionNotFound
from signer.receipts.publication import Published
from signer.receipts.registration import CloseOrder
from webapi.storage.audit import append_entries
from webapi.storage.ballot_log import log_entries
from webapi.storage.schema import BALLOTS, runtime_may
from webapi.storage.sqlite import reading

elections = Table(
    "elections",
    BALLOTS,
    Column("election_id", String(64), primary_key=True),
    Column("manifest", LargeBinary, nullable=False),
    # The order to close: all of them are null until it came.
    Column("close_request", LargeBinary),
    Column("no_vote_root", LargeBinary(32)),
    Column("no_vote_size", BigInteger),
    # The close record's place in the log, once it has one.
    Column("close_seq", BigInteger),
    # How far the public sees, and the beginning of the epoch that was judged last (unix time).
    Column("published_size", BigInteger, nullable=False),
    Column("published_epoch", BigInteger, nullable=False),
    info=runtime_may(
        update=(
            "close_request",
            "no_vote_root",
            "no_vote_size",
            "close_seq",
            "published_size",
            "published_epoch",
        )
    ),
)


@dataclass(frozen=True, slots=True)
class StoredElection:
    """An election as the database keeps it.

    Attributes:
        election_id: its name.
        manifest: its bytes.
        published: how far the public sees.
        close_seq: the close record's place, None before it has one.
    """

    election_id: str
    manifest: bytes
    published: Published
    close_seq: int | None

    @property
    def is_closed_in_public(self) -> bool:
        """Whether the published part of the log ends with the close record."""
        return self.close_seq is not None and self.published.size == self.close_seq + 1


class SqlElectionStore:
    """The elections of this service; each writing call is durable when it returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    def create(self, manifest: Manifest) -> None:
        """Store an election and the genesis record of its log, in one transaction.

        Raises:
            ElectionExists: there is one of this id.
        """
        election = insert(elections).values(
            election_id=manifest.election_id,
            manifest=manifest.serialise(),
            published_size=0,
            published_epoch=0,
        )
        genesis = insert(log_entries).values(
            election_id=manifest.election_id, seq=0, entry=manifest.genesis().encode()
        )
        try:
            with self._engine.begin() as connection:
                connection.execute(election)
                connection.execute(genesis)
                created = ElectionCreated(manifest.election_id, manifest.sha256)
                append_entries(connection, [created], at=None)
        except IntegrityError as error:
            raise ElectionExists("an election of this id exists") from error

    def get(self, election_id: str) -> StoredElection:
        """An election; raises ElectionNotFound."""
        with self._reading.begin() as connection:
            return _stored(election_row(connection, election_id))

    def exists(self, election_id: str) -> bool:
        """Whether there is an election of this id."""
        query = select(elections.c.election_id).where(elections.c.election_id == election_id)
        with self._reading.begin() as connection:
            return connection.execute(query).one_or_none() is not None

    def list_all(self) -> Sequence[StoredElection]:
        """All elections, by id."""
        with self._reading.begin() as connection:
            rows = connection.execute(select(elections).order_by(elections.c.election_id))
            return [_stored(row) for row in rows]

    def close(self, order: CloseOrder) -> None:
        """Record the order to close; from then on no new ballot is taken.

        A registration that is under way may still end well: `SqlLogStore.assign` waits for it
        before it writes the close record.

        Raises:
            ElectionNotFound: there is no such election.
            CloseConflict: an order with other figures was recorded before.
        """
        with self._engine.begin() as connection:
            row = election_row(connection, order.election_id, lock=Lock.CHANGE)
            if row.close_request is None:
                digest = hashlib.sha256(order.evidence).digest()
                closing = ElectionClosing(order.election_id, digest)
                append_entries(connection, [closing], at=None)
                connection.execute(
                    update(elections)
                    .where(elections.c.election_id == order.election_id)
                    .values(
                        close_request=order.evidence,
                        no_vote_root=order.no_vote_root,
                        no_vote_size=order.no_vote_size,
                    )
                )
            elif (row.no_vote_root, row.no_vote_size) != (order.no_vote_root, order.no_vote_size):
                raise CloseConflict("the election was closed with other figures")


class Lock(Enum):
    """What a transaction keeps from others until it ends, where writers run side by side.

    SQLite knows none of them: its writers come one after the other.
    """

    CHANGE = "NO KEY UPDATE"
    """Others who change the row or sequence its ballots wait; those who register do not."""

    REGISTRATION = "KEY SHARE"
    """Registrations run beside each other and beside CHANGE; only DRAIN waits for their end."""

    DRAIN = "UPDATE"
    """Waits until every registration under way has ended."""


def election_row(
    connection: Connection, election_id: str, *, lock: Lock | None = None
) -> Row[*tuple[Any, ...]]:
    """An election's row, locked for the transaction if asked; raises ElectionNotFound."""
    query = select(elections).where(elections.c.election_id == election_id)
    if lock is not None:
        query = query.with_for_update(
            read=lock is Lock.REGISTRATION, key_share=lock is not Lock.DRAIN
        )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise ElectionNotFound("there is no such election")
    return row


def _stored(row: Row[*tuple[Any, ...]]) -> StoredElection:
    published = Published(row.published_size, row.published_epoch)
    return StoredElection(row.election_id, row.manifest, published, row.close_seq)
