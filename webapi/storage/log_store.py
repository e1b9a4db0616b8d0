"""The sequencer's side of the database; every fence in it is a constraint or one statement."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, bindparam, insert, select, update

from signer.receipts.batch import BatchView, ClosingFigures, NewEntry, PendingBallot
from signer.receipts.log_store import BallotLogState, EntryPath
from signer.receipts.publication import Published
from webapi.storage.ballot_log import log_checkpoints, log_entries, log_intents
from webapi.storage.elections import Lock, election_row, elections
from webapi.storage.log_records import LogTables, SqlLogRecords, entry_count
from webapi.storage.registrations import registrations

_TABLES = LogTables(log_intents, log_checkpoints, "election_id")


class SqlLogStore(SqlLogRecords):
    """`signer.receipts.log_store.LogStore` on the database; elections name the logs."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, _TABLES)

    def log_state(self, log_id: str) -> BallotLogState:
        """The log as it stands; raises ElectionNotFound."""
        with self._engine.begin() as connection:
            # In this order, because each statement may see a later moment than the one before:
            # what is published was signed, and what was signed has entries.
            election = election_row(connection, log_id)
            signed = self._newest(connection, log_id)
            return BallotLogState(
                entries=_entry_count(connection, log_id),
                signed=signed,
                closed=election.close_seq is not None,
                published=Published(election.published_size, election.published_epoch),
            )

    def assign(
        self, election_id: str, *, limit: int, plan: Callable[[BatchView], Sequence[NewEntry]]
    ) -> int:
        """Show `plan` what is pending, and store what it decides on, in one transaction."""
        with self._engine.begin() as connection:
            election = election_row(connection, election_id, lock=Lock.CHANGE)
            if election.close_seq is not None:
                return 0
            if election.close_request is not None:
                # What was being registered when the order came stands before the close record.
                election_row(connection, election_id, lock=Lock.DRAIN)
            entries = plan(_view(connection, election, limit))
            if entries:
                _store_entries(connection, election_id, entries)
            return len(entries)

    def entries(self, log_id: str, first: int, end: int) -> list[bytes]:
        """The entries from index `first` up to, not including, `end`."""
        query = (
            select(log_entries.c.entry)
            .where(
                log_entries.c.election_id == log_id,
                log_entries.c.seq >= first,
                log_entries.c.seq < end,
            )
            .order_by(log_entries.c.seq)
        )
        with self._engine.begin() as connection:
            return list(connection.execute(query).scalars())

    def release(self, election_id: str, *, size: int, paths: Sequence[EntryPath]) -> None:
        """Store the paths of a checkpoint's new entries, and let their receipts out."""
        rows = [{"the_seq": item.seq, "the_path": b"".join(item.path)} for item in paths]
        of_entry = (
            update(registrations)
            .where(
                registrations.c.election_id == election_id,
                registrations.c.seq == bindparam("the_seq"),
            )
            .values(path=bindparam("the_path"), checkpoint_size=size)
        )
        with self._engine.begin() as connection:
            connection.execute(of_entry, rows)
            self._mark_released(connection, election_id, size)

    def publish(self, election_id: str, published: Published) -> None:
        """Record how an epoch was judged; the public never sees less than before."""
        with self._engine.begin() as connection:
            connection.execute(
                update(elections)
                .where(
                    elections.c.election_id == election_id,
                    elections.c.published_size <= published.size,
                )
                .values(published_size=published.size, published_epoch=published.epoch)
            )


def _entry_count(connection: Connection, election_id: str) -> int:
    return entry_count(connection, log_entries.c.seq, log_entries.c.election_id == election_id)


def _view(connection: Connection, election: Row[*tuple[Any, ...]], limit: int) -> BatchView:
    query = (
        select(
            registrations.c.submission_id,
            registrations.c.commitment,
            registrations.c.accepted_slot,
        )
        .where(
            registrations.c.election_id == election.election_id,
            registrations.c.seq.is_(None),
        )
        .limit(limit + 1)
    )
    rows = connection.execute(query).all()
    closing = None
    if election.close_request is not None:
        closing = ClosingFigures(election.no_vote_root, election.no_vote_size)
    return BatchView(
        pending=tuple(
            PendingBallot(row.submission_id, row.commitment, row.accepted_slot)
            for row in rows[:limit]
        ),
        more_pending=len(rows) > limit,
        next_seq=_entry_count(connection, election.election_id),
        closing=closing,
    )


def _store_entries(connection: Connection, election_id: str, entries: Sequence[NewEntry]) -> None:
    connection.execute(
        insert(log_entries),
        [{"election_id": election_id, "seq": e.seq, "entry": e.entry} for e in entries],
    )
    placed = [
        {"the_id": entry.submission_id, "the_seq": entry.seq}
        for entry in entries
        if entry.submission_id is not None
    ]
    if placed:
        connection.execute(
            update(registrations)
            .where(
                registrations.c.election_id == election_id,
                registrations.c.submission_id == bindparam("the_id"),
            )
            .values(seq=bindparam("the_seq")),
            placed,
        )
    if len(placed) < len(entries):
        connection.execute(
            update(elections)
            .where(elections.c.election_id == election_id)
            .values(close_seq=entries[-1].seq)
        )
