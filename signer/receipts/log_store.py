"""What whoever grows a log asks of its database and of its folder of tiles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from signer.permit import PermitRecord
from signer.receipts.batch import BatchView, NewEntry
from signer.receipts.publication import Published
from signer.receipts.tiles import TileAddress


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A committed checkpoint.

    Attributes:
        size: number of entries.
        root: 32 bytes.
        note: the signed note; from here on these bytes alone are the checkpoint.
        previous_size: the size of the checkpoint before it, 0 for the first.
        released: whether the receipts of its entries may go out.
    """

    size: int
    root: bytes
    note: bytes
    previous_size: int
    released: bool


@dataclass(frozen=True, slots=True)
class LogState:
    """A log as the database knows it.

    Attributes:
        entries: number of entries with a place.
        signed: the newest committed checkpoint.
    """

    entries: int
    signed: SignedCheckpoint | None

    @property
    def signed_size(self) -> int:
        """The newest checkpoint's size, 0 where there is none."""
        return self.signed.size if self.signed else 0

    @property
    def released_size(self) -> int:
        """The size of the newest checkpoint whose receipts may go out, 0 where there is none."""
        if self.signed is None:
            return 0
        return self.signed.size if self.signed.released else self.signed.previous_size


@dataclass(frozen=True, slots=True)
class BallotLogState(LogState):
    """An election's log as the database knows it.

    Attributes:
        closed: whether the last entry is the close record.
        published: how far the public sees.
    """

    closed: bool
    published: Published

    @property
    def is_closed(self) -> bool:
        """Whether the close record is signed and everything before it released."""
        return self.closed and self.released_size == self.entries


@dataclass(frozen=True, slots=True)
class EntryPath:
    """The inclusion path of one entry."""

    seq: int
    path: tuple[bytes, ...]


class LogRecords(Protocol):
    """A log's database. Each writing call is one transaction, durable when it returns."""

    def log_state(self, log_id: str) -> LogState:
        """The log as it stands; raises ElectionNotFound where there is no such election."""

    def entries(self, log_id: str, first: int, end: int) -> list[bytes]:
        """The entries from index `first` up to, not including, `end`."""

    def checkpoint(self, log_id: str, size: int) -> SignedCheckpoint | None:
        """The committed checkpoint of exactly this size."""

    def take_over(self, log_id: str, *, holder: str) -> None:
        """Put every intent that no signature followed into this holder's name."""

    def intend(
        self,
        log_id: str,
        *,
        previous_size: int,
        size: int,
        root: bytes,
        holder: str,
        permits: Sequence[PermitRecord],
    ) -> None:
        """Record the intent to sign this root for this size, the fence, and the keys' permits.

        The permits with an audit entry for each are in the same transaction. The same intent may
        be recorded again by its holder: the batch of an intent is tried until it is signed.

        Raises:
            FenceLost: another holder has this intent, the newest checkpoint is not the one of
                `previous_size`, or another size was intended to follow it.
            LogForked: an intent of this size is for another root.
            PermitExists, AuditBehind: as `signer.permit.PermitLedger.reserve`.
        """

    def spend(
        self, log_id: str, *, size: int, holder: str, permit_ids: Sequence[str], at: datetime
    ) -> None:
        """In one transaction, find the intent still in this holder's name, and spend the permits.

        Raises:
            FenceLost: it is in another's; no permit was spent.
            PermitUnknown, PermitAlreadySpent: as `signer.permit.PermitLedger.spend`.
        """

    def commit_checkpoint(self, log_id: str, checkpoint: SignedCheckpoint) -> None:
        """Store signed bytes.

        Raises:
            FenceLost: a checkpoint of this size, or after the same one, was committed before.
        """


class LogStore(LogRecords, Protocol):
    """The database of ballot logs, which are named by their elections."""

    def log_state(self, log_id: str) -> BallotLogState:
        """The log as it stands; raises ElectionNotFound."""

    def assign(
        self,
        election_id: str,
        *,
        after: int,
        limit: int,
        plan: Callable[[BatchView], Sequence[NewEntry]],
    ) -> int:
        """Show `plan` what is pending, and store the places and entries that it decides on.

        Nothing is shown, and nothing stored, once the close record has its place.

        Args:
            election_id: names the log.
            after: how many entries have a place, as the caller knows it.
            limit: how many ballots are shown at most.
            plan: decides.

        Returns:
            The number of new entries.

        Raises:
            FenceLost: more entries have a place; somebody else gave them.
        """

    def release(self, election_id: str, *, size: int, paths: Sequence[EntryPath]) -> None:
        """Store the inclusion paths of a checkpoint's new entries, and let their receipts out."""

    def publish(self, election_id: str, published: Published) -> None:
        """Record how an epoch was judged; neither what the public sees nor the epoch goes back."""


class TileFiles(Protocol):
    """One log's folder of tiles."""

    def write(self, files: Sequence[tuple[TileAddress, bytes]], *, slot: int) -> None:
        """Write tiles durably: temporary files, fsync, rename, fsync of the folders.

        Args:
            files: each tile with its bytes.
            slot: the present ten-minute slot, which is all that file dates may tell.
        """

    def read(self, level: int | None, number: int) -> bytes | None:
        """The widest version of a tile, or of an entry bundle where `level` is None."""

    def set_aside(self) -> None:
        """Move all tiles out of the way, where a person can look at them."""

    def write_checkpoint(self, note: bytes, *, slot: int) -> None:
        """Write the newest checkpoint's file, as durably as tiles."""

    def read_checkpoint(self) -> bytes | None:
        """The newest checkpoint's file."""
