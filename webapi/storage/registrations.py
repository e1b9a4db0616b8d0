"""Registered ballots by submission id: no voter, no address, no time finer than ten minutes."""

from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    LargeBinary,
    Row,
    String,
    Table,
    UniqueConstraint,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from signer.receipts.acceptance import NewRegistration, Release, StoredRegistration
from signer.receipts.errors import ElectionNotFound, ElectionOver
from signer.receipts.merkle import HASH_BYTES
from webapi.storage.ballot_log import log_checkpoints, log_entries
from webapi.storage.elections import elections
from webapi.storage.many_rows import ManyRows, given, given_rows
from webapi.storage.schema import BALLOTS, runtime_may
from webapi.storage.sqlite import reading

registration_batches = Table(
    "registration_batches",
    BALLOTS,
    Column("election_id", String(64), ForeignKey(elections.c.election_id), primary_key=True),
    # SHA-256 of the request: the same one sent again is the same row.
    Column("request_sha256", LargeBinary(32), primary_key=True),
    Column("request", LargeBinary, nullable=False),
    info=runtime_may(),
    sqlite_with_rowid=False,
)
"""Requests that registered many ballots, kept once as the evidence for all of them."""

registrations = Table(
    "registrations",
    BALLOTS,
    Column("election_id", String(64), ForeignKey(elections.c.election_id), primary_key=True),
    Column("submission_id", String(64), primary_key=True),
    Column("ballot_sha256", LargeBinary(32), nullable=False),
    Column("commitment", LargeBinary(32), nullable=False),
    Column("accepted_slot", BigInteger, nullable=False),
    Column("sealed_salt", LargeBinary, nullable=False),
    # The signed request: its own, or one that it shares with others.
    Column("evidence", LargeBinary),
    Column("batch_sha256", LargeBinary(32)),
    # The place in the log, once it has one.
    Column("seq", BigInteger),
    # The checkpoint that its receipt bears and the path in it, once the receipt may go out.
    Column("checkpoint_size", BigInteger),
    Column("path", LargeBinary),
    UniqueConstraint("election_id", "seq"),
    CheckConstraint("(evidence IS NULL) <> (batch_sha256 IS NULL)", name="one_evidence"),
    ForeignKeyConstraint(
        ["election_id", "batch_sha256"],
        [registration_batches.c.election_id, registration_batches.c.request_sha256],
    ),
    # Rows lie in the order of their keys: the order of arrival is not kept in hidden row numbers.
    sqlite_with_rowid=False,
    info=runtime_may(update=("seq", "checkpoint_size", "path")),
)


# Statements are made once: making one takes longer than the database needs to carry it out.

_ELECTION = bindparam("the_election", type_=String)

# Looked up row by row: whatever the planner believes of the tables' sizes, it cannot decide to
# read one of them from end to end and join.
_ENTRY = (
    select(log_entries.c.entry)
    .where(
        log_entries.c.election_id == registrations.c.election_id,
        log_entries.c.seq == registrations.c.seq,
    )
    .scalar_subquery()
)
_NOTE = (
    select(log_checkpoints.c.note)
    .where(
        log_checkpoints.c.election_id == registrations.c.election_id,
        log_checkpoints.c.size == registrations.c.checkpoint_size,
    )
    .scalar_subquery()
)

_OF_ELECTION = select(
    registrations.c.submission_id,
    registrations.c.ballot_sha256,
    registrations.c.sealed_salt,
    registrations.c.seq,
    registrations.c.path,
    _ENTRY.label("entry"),
    _NOTE.label("note"),
).where(registrations.c.election_id == _ELECTION)

# A list makes another statement for each length of it, which must be read and planned anew;
# an array is one value.
_FINDS = {
    "sqlite": _OF_ELECTION.where(
        registrations.c.submission_id.in_(bindparam("the_ids", expanding=True))
    ),
    "postgresql": _OF_ELECTION.where(
        registrations.c.submission_id
        == func.any(bindparam("the_ids", type_=postgresql.ARRAY(String)))
    ),
}

# The row is locked so that no order to close comes in between on engines that let writers run
# side by side; SQLite's transactions are exclusive as it is. Of all locks the weakest that the
# order's own conflicts with: the sequencer must not wait for registrations, nor they for it.
_CLOSING = (
    select(elections.c.close_request.is_not(None))
    .where(elections.c.election_id == _ELECTION)
    .with_for_update(read=True, key_share=True)
)

_GIVEN = (
    registrations.c.submission_id,
    registrations.c.ballot_sha256,
    registrations.c.commitment,
    registrations.c.accepted_slot,
    registrations.c.sealed_salt,
    registrations.c.evidence,
    registrations.c.batch_sha256,
)
_given_rows = given_rows(*_GIVEN)
_INSERT = ManyRows(
    each=sqlite.insert(registrations)
    .values({"election_id": _ELECTION, **{c.name: given(c.name) for c in _GIVEN}})
    .on_conflict_do_nothing()
    .returning(registrations.c.submission_id),
    # In the order of the key: two transactions that wait for each other's rows would be a
    # deadlock.
    at_once=postgresql.insert(registrations)
    .from_select(
        ["election_id", *(c.name for c in _GIVEN)],
        select(_ELECTION, *_given_rows.c).order_by(_given_rows.c.submission_id),
    )
    .on_conflict_do_nothing()
    .returning(registrations.c.submission_id),
)

_INSERT_BATCH = ManyRows(
    each=sqlite.insert(registration_batches)
    .values(election_id=_ELECTION, request_sha256=given("request_sha256"), request=given("request"))
    .on_conflict_do_nothing(),
    at_once=postgresql.insert(registration_batches)
    .from_select(
        ["election_id", "request_sha256", "request"],
        select(
            _ELECTION,
            *given_rows(registration_batches.c.request_sha256, registration_batches.c.request).c,
        ),
    )
    .on_conflict_do_nothing(),
)


class SqlRegistrationStore:
    """`signer.receipts.acceptance.RegistrationStore` on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)

    def find(
        self, election_id: str, submission_ids: Collection[str]
    ) -> Mapping[str, StoredRegistration]:
        """The registrations that there are of these ids, by id."""
        asked = {"the_election": election_id, "the_ids": list(submission_ids)}
        with self._reading.begin() as connection:
            return {
                row.submission_id: StoredRegistration(
                    row.submission_id,
                    row.ballot_sha256,
                    row.sealed_salt,
                    None if row.path is None else _release(row),
                )
                for row in connection.execute(_FINDS[self._engine.dialect.name], asked)
            }

    def insert(self, election_id: str, new: Collection[NewRegistration]) -> frozenset[str]:
        """Insert registrations in one transaction, unless the election was ordered to close.

        Returns:
            The ids that were inserted; the others were taken.

        Raises:
            ElectionOver: the order to close came first; nothing was inserted.
            ElectionNotFound: there is no such election.
        """
        # By identity: they are long, and all ballots of a request have the very same one.
        requests = {id(item.evidence): item.evidence for item in new if item.in_batch}
        digests = {number: sha256(request).digest() for number, request in requests.items()}
        rows = [
            {
                "submission_id": item.submission_id,
                "ballot_sha256": item.ballot_sha256,
                "commitment": item.commitment,
                "accepted_slot": item.accepted_slot,
                "sealed_salt": item.sealed_salt,
                "evidence": None if item.in_batch else item.evidence,
                "batch_sha256": digests[id(item.evidence)] if item.in_batch else None,
            }
            for item in new
        ]
        of_election = {"the_election": election_id}
        with self._engine.begin() as connection:
            _require_not_closing(connection, election_id)
            if requests:
                batches = {digests[number]: request for number, request in requests.items()}
                evidence = [
                    {"request_sha256": request_sha256, "request": request}
                    for request_sha256, request in sorted(batches.items())
                ]
                _INSERT_BATCH.execute(connection, evidence, of_election)
            return frozenset(_INSERT.execute(connection, rows, of_election).scalars())

    def count_pending(self, election_id: str) -> int:
        """The number of ballots that have no place in the log yet; read from an index."""
        query = (
            select(func.count())
            .select_from(registrations)
            .where(registrations.c.election_id == election_id, registrations.c.seq.is_(None))
        )
        with self._reading.begin() as connection:
            pending: int = connection.execute(query).scalar_one()
        return pending

    def count(self, election_id: str) -> int:
        """The number of registered ballots; it is read from an index, however many there are."""
        of_election = registrations.c.election_id == election_id
        # Places are given from 1 on, without gaps.
        last_place = select(func.coalesce(func.max(registrations.c.seq), 0)).where(of_election)
        without_place = (
            select(func.count())
            .select_from(registrations)
            .where(of_election, registrations.c.seq.is_(None))
        )
        # One statement sees one moment: no ballot is missed on its way from one to the other.
        total = select(last_place.scalar_subquery() + without_place.scalar_subquery())
        with self._reading.begin() as connection:
            found: int = connection.execute(total).scalar_one()
        return found


def _require_not_closing(connection: Connection, election_id: str) -> None:
    ordered = connection.execute(_CLOSING, {"the_election": election_id}).scalar_one_or_none()
    if ordered is None:
        raise ElectionNotFound("there is no such election")
    if ordered:
        raise ElectionOver("the election was ordered to close")


def _release(row: Row[*tuple[Any, ...]]) -> Release:
    path: bytes = row.path
    hashes = tuple(path[i : i + HASH_BYTES] for i in range(0, len(path), HASH_BYTES))
    return Release(index=row.seq, entry=row.entry, path=hashes, checkpoint=row.note)
