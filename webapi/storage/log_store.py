"""The sequencer's side of the database; every fence in it is a constraint or one statement."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    Row,
    String,
    bindparam,
    case,
    insert,
    or_,
    select,
    update,
)

from signer.receipts.batch import BatchView, ClosingFigures, NewEntry, PendingBallot
from signer.receipts.errors import FenceLost
from signer.receipts.log_store import BallotLogState, EntryPath
from signer.receipts.publication import Published
from webapi.storage.ballot_log import log_checkpoints, log_entries, log_intents
from webapi.storage.elections import Lock, election_row, elections
from webapi.storage.log_records import LogTables, SqlLogRecords, entry_count
from webapi.storage.many_rows import ManyRows, given, given_rows
from webapi.storage.registrations import registrations

_TABLES = LogTables(log_intents, log_checkpoints, "election_id")

_ELECTION = bindparam("of_election", type_=String)
_of_election = registrations.c.election_id == _ELECTION

_new_entries = given_rows(log_entries.c.seq, log_entries.c.entry)
_INSERT_ENTRIES = ManyRows(
    each=insert(log_entries).values(election_id=_ELECTION, seq=given("seq"), entry=given("entry")),
    at_once=insert(log_entries).from_select(
        ["election_id", "seq", "entry"], select(_ELECTION, _new_entries.c.seq, _new_entries.c.entry)
    ),
)

_placed = given_rows(registrations.c.submission_id, registrations.c.seq)
_GIVE_PLACES = ManyRows(
    each=update(registrations)
    .where(_of_election, registrations.c.submission_id == given("submission_id"))
    .values(seq=given("seq")),
    at_once=update(registrations)
    .where(_of_election, registrations.c.submission_id == _placed.c.submission_id)
    .values(seq=_placed.c.seq),
)

_proven = given_rows(registrations.c.seq, registrations.c.path)
# A receipt that may be out never changes, whoever still believes to have a batch to release.
_of_this_size = or_(
    registrations.c.checkpoint_size.is_(None),
    registrations.c.checkpoint_size == bindparam("size", type_=BigInteger),
)
_STORE_PATHS = ManyRows(
    each=update(registrations)
    .where(_of_election, registrations.c.seq == given("seq"), _of_this_size)
    .values(path=given("path"), checkpoint_size=bindparam("size", type_=BigInteger)),
    at_once=update(registrations)
    .where(_of_election, registrations.c.seq == _proven.c.seq, _of_this_size)
    .values(path=_proven.c.path, checkpoint_size=bindparam("size", type_=BigInteger)),
)


class SqlLogStore(SqlLogRecords):
    """`signer.receipts.log_store.LogStore` on the database; elections name the logs."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, _TABLES)

    def log_state(self, log_id: str) -> BallotLogState:
        """The log as it stands; raises ElectionNotFound."""
        with self._reading.begin() as connection:
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
        self,
        election_id: str,
        *,
        after: int,
        limit: int,
        plan: Callable[[BatchView], Sequence[NewEntry]],
    ) -> int:
        """Show `plan` what is pending, and store what it decides on, in one transaction.

        Raises:
            FenceLost: not `after` entries have a place, but more.
        """
        with self._engine.begin() as connection:
            election = election_row(connection, election_id, lock=Lock.CHANGE)
            if _entry_count(connection, election_id) != after:
                raise FenceLost("another sequencer gave places in the meantime")
            if election.close_seq is not None:
                return 0
            if election.close_request is not None:
                # What was being registered when the order came stands before the close record.
                election_row(connection, election_id, lock=Lock.DRAIN)
            entries = plan(_view(connection, election, after, limit))
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
        with self._reading.begin() as connection:
            return list(connection.execute(query).scalars())

    def release(self, election_id: str, *, size: int, paths: Sequence[EntryPath]) -> None:
        """Store the paths of a checkpoint's new entries, and let their receipts out."""
        rows = [{"seq": item.seq, "path": b"".join(item.path)} for item in paths]
        with self._engine.begin() as connection:
            _STORE_PATHS.execute(connection, rows, {"of_election": election_id, "size": size})
            self._mark_released(connection, election_id, size)

    def publish(self, election_id: str, published: Published) -> None:
        """Record how an epoch was judged; neither what the public sees nor the epoch goes back."""
        judged_last = case(
            (elections.c.published_epoch > published.epoch, elections.c.published_epoch),
            else_=published.epoch,
        )
        with self._engine.begin() as connection:
            connection.execute(
                update(elections)
                .where(
                    elections.c.election_id == election_id,
                    elections.c.published_size <= published.size,
                )
                .values(published_size=published.size, published_epoch=judged_last)
            )


def _entry_count(connection: Connection, election_id: str) -> int:
    return entry_count(connection, log_entries.c.seq, log_entries.c.election_id == election_id)


def _view(
    connection: Connection, election: Row[*tuple[Any, ...]], next_seq: int, limit: int
) -> BatchView:
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
        next_seq=next_seq,
        closing=closing,
    )


def _store_entries(connection: Connection, election_id: str, entries: Sequence[NewEntry]) -> None:
    of_election = {"of_election": election_id}
    rows = [{"seq": item.seq, "entry": item.entry} for item in entries]
    _INSERT_ENTRIES.execute(connection, rows, of_election)
    placed = [
        {"submission_id": item.submission_id, "seq": item.seq}
        for item in entries
        if item.submission_id is not None
    ]
    if placed:
        _GIVE_PLACES.execute(connection, placed, of_election)
    if len(placed) < len(entries):
        connection.execute(
            update(elections)
            .where(elections.c.election_id == election_id)
            .values(close_seq=entries[-1].seq)
        )
