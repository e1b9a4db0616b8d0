"""Registered ballots by submission id: no voter, no address, no time finer than ten minutes."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    LargeBinary,
    Row,
    String,
    Table,
    UniqueConstraint,
    and_,
    func,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from signer.receipts.acceptance import NewRegistration, Release, StoredRegistration
from signer.receipts.errors import ElectionOver, SubmissionExists
from signer.receipts.merkle import HASH_BYTES
from webapi.storage.ballot_log import log_checkpoints, log_entries
from webapi.storage.elections import Lock, election_row, elections
from webapi.storage.schema import BALLOTS, runtime_may

registrations = Table(
    "registrations",
    BALLOTS,
    Column("election_id", String(64), ForeignKey(elections.c.election_id), primary_key=True),
    Column("submission_id", String(64), primary_key=True),
    Column("ballot_sha256", LargeBinary(32), nullable=False),
    Column("commitment", LargeBinary(32), nullable=False),
    Column("accepted_slot", BigInteger, nullable=False),
    Column("sealed_salt", LargeBinary, nullable=False),
    Column("evidence", LargeBinary, nullable=False),
    # The place in the log, once it has one.
    Column("seq", BigInteger),
    # The checkpoint that its receipt bears and the path in it, once the receipt may go out.
    Column("checkpoint_size", BigInteger),
    Column("path", LargeBinary),
    UniqueConstraint("election_id", "seq"),
    # Rows lie in the order of their keys: the order of arrival is not kept in hidden row numbers.
    sqlite_with_rowid=False,
    info=runtime_may(update=("seq", "checkpoint_size", "path")),
)


class SqlRegistrationStore:
    """`signer.receipts.acceptance.RegistrationStore` on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, election_id: str, submission_id: str) -> StoredRegistration | None:
        """The registration of this id, if there is one."""
        query = (
            select(
                registrations.c.ballot_sha256,
                registrations.c.sealed_salt,
                registrations.c.seq,
                registrations.c.path,
                log_entries.c.entry,
                log_checkpoints.c.note,
            )
            .select_from(registrations)
            .outerjoin(
                log_entries,
                and_(
                    log_entries.c.election_id == registrations.c.election_id,
                    log_entries.c.seq == registrations.c.seq,
                ),
            )
            .outerjoin(
                log_checkpoints,
                and_(
                    log_checkpoints.c.election_id == registrations.c.election_id,
                    log_checkpoints.c.size == registrations.c.checkpoint_size,
                ),
            )
            .where(
                registrations.c.election_id == election_id,
                registrations.c.submission_id == submission_id,
            )
        )
        with self._engine.begin() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        release = None if row.path is None else _release(row)
        return StoredRegistration(submission_id, row.ballot_sha256, row.sealed_salt, release)

    def insert(self, new: NewRegistration) -> None:
        """Insert a registration, unless the election was ordered to close.

        Raises:
            SubmissionExists: the id is taken.
            ElectionOver: the order to close came first.
            ElectionNotFound: there is no such election.
        """
        values = insert(registrations).values(
            election_id=new.election_id,
            submission_id=new.submission_id,
            ballot_sha256=new.ballot_sha256,
            commitment=new.commitment,
            accepted_slot=new.accepted_slot,
            sealed_salt=new.sealed_salt,
            evidence=new.evidence,
        )
        try:
            with self._engine.begin() as connection:
                # Locked, so that the close record is not written before this ballot has its place.
                election = election_row(connection, new.election_id, lock=Lock.REGISTRATION)
                if election.close_request is not None:
                    raise ElectionOver("the election was ordered to close")
                connection.execute(values)
        except IntegrityError as error:
            raise SubmissionExists("the submission id is taken") from error

    def count_pending(self, election_id: str) -> int:
        """The number of ballots that have no place in the log yet; read from an index."""
        query = (
            select(func.count())
            .select_from(registrations)
            .where(registrations.c.election_id == election_id, registrations.c.seq.is_(None))
        )
        with self._engine.begin() as connection:
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
        with self._engine.begin() as connection:
            found: int = connection.execute(total).scalar_one()
        return found


def _release(row: Row[*tuple[Any, ...]]) -> Release:
    path: bytes = row.path
    hashes = tuple(path[i : i + HASH_BYTES] for i in range(0, len(path), HASH_BYTES))
    return Release(index=row.seq, entry=row.entry, path=hashes, checkpoint=row.note)
