"""The sequencer's side of the database; every fence in it is a constraint or one statement."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    String,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from signer.receipts.batch import BatchView, ClosingFigures, NewEntry, PendingBallot
from signer.receipts.errors import FenceLost, LogForked
from signer.receipts.log_store import EntryPath, LogState, SignedCheckpoint
from signer.receipts.publication import Published
from webapi.storage.ballot_log import log_checkpoints, log_entries, log_intents
from webapi.storage.elections import Lock, election_row, elections
from webapi.storage.many_rows import ManyRows, given, given_rows
from webapi.storage.registrations import registrations

_OF_NEWEST = log_checkpoints.c.size.desc()

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
_STORE_PATHS = ManyRows(
    each=update(registrations)
    .where(_of_election, registrations.c.seq == given("seq"))
    .values(path=given("path"), checkpoint_size=bindparam("size")),
    at_once=update(registrations)
    .where(_of_election, registrations.c.seq == _proven.c.seq)
    .values(path=_proven.c.path, checkpoint_size=bindparam("size")),
)


class SqlLogStore:
    """`signer.receipts.log_store.LogStore` on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def log_state(self, election_id: str) -> LogState:
        """The log as it stands; raises ElectionNotFound."""
        newest = (
            select(log_checkpoints)
            .where(log_checkpoints.c.election_id == election_id)
            .order_by(_OF_NEWEST)
            .limit(1)
        )
        with self._engine.begin() as connection:
            # In this order, because each statement may see a later moment than the one before:
            # what is published was signed, and what was signed has entries.
            election = election_row(connection, election_id)
            signed = connection.execute(newest).one_or_none()
            return LogState(
                entries=_entry_count(connection, election_id),
                signed=None if signed is None else _checkpoint(signed),
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

    def entries(self, election_id: str, first: int, end: int) -> list[bytes]:
        """The entries from index `first` up to, not including, `end`."""
        query = (
            select(log_entries.c.entry)
            .where(
                log_entries.c.election_id == election_id,
                log_entries.c.seq >= first,
                log_entries.c.seq < end,
            )
            .order_by(log_entries.c.seq)
        )
        with self._engine.begin() as connection:
            return list(connection.execute(query).scalars())

    def checkpoint(self, election_id: str, size: int) -> SignedCheckpoint | None:
        """The committed checkpoint of exactly this size."""
        query = select(log_checkpoints).where(
            log_checkpoints.c.election_id == election_id, log_checkpoints.c.size == size
        )
        with self._engine.begin() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _checkpoint(row)

    def take_over(self, election_id: str, *, holder: str) -> None:
        """Put every intent that no signature followed into this holder's name."""
        newest = (
            select(func.coalesce(func.max(log_checkpoints.c.size), 0))
            .where(log_checkpoints.c.election_id == election_id)
            .scalar_subquery()
        )
        with self._engine.begin() as connection:
            connection.execute(
                update(log_intents)
                .where(log_intents.c.election_id == election_id, log_intents.c.size > newest)
                .values(holder=holder)
            )

    def intend(self, election_id: str, *, size: int, root: bytes, holder: str) -> None:
        """Record the intent to sign this root for this size.

        Raises:
            FenceLost: another holder has this intent.
            LogForked: an intent of this size is for another root.
        """
        values = {"election_id": election_id, "size": size, "root": root, "holder": holder}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(log_intents).values(values))
        except IntegrityError as error:
            with self._engine.begin() as connection:
                row = _intent(connection, election_id, size)
            if row is None or row.root != root:
                raise LogForked(f"an intent for size {size} has another root") from error
            if row.holder != holder:
                raise FenceLost(f"another sequencer is signing size {size}") from error

    def holds_intent(self, election_id: str, *, size: int, holder: str) -> bool:
        """Whether the intent of this size is still in this holder's name."""
        with self._engine.begin() as connection:
            row = _intent(connection, election_id, size)
        return row is not None and row.holder == holder

    def commit_checkpoint(self, election_id: str, checkpoint: SignedCheckpoint) -> None:
        """Store signed bytes; raises FenceLost if this size was committed before."""
        values = {
            "election_id": election_id,
            "size": checkpoint.size,
            "root": checkpoint.root,
            "note": checkpoint.note,
            "previous_size": checkpoint.previous_size,
            "released": checkpoint.released,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(log_checkpoints).values(values))
        except IntegrityError as error:
            raise FenceLost(f"size {checkpoint.size} was signed before") from error

    def release(self, election_id: str, *, size: int, paths: Sequence[EntryPath]) -> None:
        """Store the paths of a checkpoint's new entries, and let their receipts out."""
        rows = [{"seq": item.seq, "path": b"".join(item.path)} for item in paths]
        released = (
            update(log_checkpoints)
            .where(log_checkpoints.c.election_id == election_id, log_checkpoints.c.size == size)
            .values(released=True)
        )
        with self._engine.begin() as connection:
            _STORE_PATHS.execute(connection, rows, {"of_election": election_id, "size": size})
            connection.execute(released)

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
    last = select(func.max(log_entries.c.seq)).where(log_entries.c.election_id == election_id)
    found = connection.execute(last).scalar_one()
    return 0 if found is None else found + 1


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


def _intent(connection: Connection, election_id: str, size: int) -> Row[*tuple[Any, ...]] | None:
    query = select(log_intents).where(
        log_intents.c.election_id == election_id, log_intents.c.size == size
    )
    return connection.execute(query).one_or_none()


def _checkpoint(row: Row[*tuple[Any, ...]]) -> SignedCheckpoint:
    return SignedCheckpoint(
        size=row.size,
        root=row.root,
        note=row.note,
        previous_size=row.previous_size,
        released=row.released,
    )
