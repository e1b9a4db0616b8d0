"""What every signed log does the same way once its entries have their places.

The order, where each step is durable before the next begins:

2. Entry bundles and tiles are written: temporary files, fsync, rename, fsync of folders.
3. They are read back, the root is computed from them, and compared with the root that
   the database's entries give. Damaged tiles are made anew from the database, once.
4. In one transaction: the intent (log, size, root, size before), which is the fence between
   two writers, and the permits of all keys with their audit entries. A checkpoint has one
   successor: the intent is refused unless the newest checkpoint is the one that it follows.
5. In one transaction: the intent is found to be still ours, and the permits are spent; then
   each key signs once.
6. Our own signatures are verified under the pinned keys.
7. The signed bytes are committed to the database, from where alone they come ever after.
8. The checkpoint file is written.

Who gives the places (step 1) and what follows the file (step 9) is each log's own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Protocol, TypeVar

from signer.backend import PERMIT_LIFE, SigningBackend
from signer.payload import Payload, Purpose
from signer.permit import PermitRecord, SigningPermit, reserve_permits
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import (
    FenceLost,
    FormatRefused,
    KeysChanged,
    LogForked,
    LogSignatureMissing,
    NoteSignatureInvalid,
    NoteUnsigned,
    TilesDamaged,
)
from signer.receipts.leaf import SLOT_SECONDS
from signer.receipts.log_store import LogRecords, LogState, SignedCheckpoint, TileFiles
from signer.receipts.merkle import Frontier, leaf_hash
from signer.receipts.note import (
    NoteAlgorithm,
    UnverifiedNote,
    VerifierKey,
    assemble_note,
    open_note,
)
from signer.receipts.policy import LogKeys
from signer.receipts.tree_files import TreeFiles

Read = TypeVar("Read")
PayloadOf = Callable[[Purpose, str, bytes], Payload]


class Step(IntEnum):
    """The steps of the durable order; a step is reached when it is durable."""

    ASSIGNED = 1
    TILES_WRITTEN = 2
    READ_BACK = 3
    INTENT_RECORDED = 4
    SIGNED = 5
    VERIFIED = 6
    COMMITTED = 7
    CHECKPOINT_FILE_WRITTEN = 8
    RELEASED = 9


class StepObserver(Protocol):
    """Is told of each step as it is reached."""

    def reached(self, step: Step, log_id: str) -> None:
        """A step is done."""


class SilentObserver:
    """An observer that does nothing."""

    def reached(self, step: Step, log_id: str) -> None:
        """Ignore the step."""


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which log, and whose signatures it bears.

    Attributes:
        log_id: names it in the database; its permits' owner.
        keys: its origin, and the keys that are pinned for it.
        payload_of: makes a payload of purpose, origin and checkpoint text, or refuses.
    """

    log_id: str
    keys: LogKeys
    payload_of: PayloadOf = field(compare=False, repr=False)

    @property
    def origin(self) -> str:
        """The log's name in its checkpoints."""
        return self.keys.origin


class GrowingLog:
    """Grows one log by what has its places. Made by `open_log`, which compares the records first.

    Attributes:
        log: which one.
        frontier: the tree that was signed last.
        tree: the tree in the log's folder.
    """

    def __init__(
        self,
        log: LogIdentity,
        *,
        records: LogRecords,
        files: TileFiles,
        backend: SigningBackend,
        keys: Sequence[tuple[Purpose, VerifierKey]],
        holder: str,
        observer: StepObserver,
        frontier: Frontier,
    ) -> None:
        self.log = log
        self.frontier = frontier
        self.tree = tree_of(records, files, log.log_id)
        self._records = records
        self._files = files
        self._backend = backend
        self._keys = keys
        self._holder = holder
        self._observer = observer

    def require_ours(self, state: LogState) -> None:
        """Find the newest checkpoint to be the one that was signed here.

        Raises:
            FenceLost: somebody else has signed since.
        """
        if state.signed_size != self.frontier.size:
            raise FenceLost("another sequencer has signed in the meantime")

    def grow(self, new_size: int, *, slot: int) -> SignedCheckpoint:
        """Steps 2 to 7: from entries with their places to a committed checkpoint.

        Args:
            new_size: the log's size with them.
            slot: the present ten-minute slot. Neither file dates nor the permits' records tell
                more: a batch may hold a single ballot.

        Raises:
            SequencerHalted: a subclass; this writer must not go on.
            SignerError: the keys could not sign; the same batch is tried again next time.
        """
        old_size = self.frontier.size
        grown = self._write_and_read_back(old_size, new_size, slot=slot)
        checkpoint = Checkpoint(self.log.origin, new_size, grown.root)
        note = self._sign(
            checkpoint, old_size, at=datetime.fromtimestamp(slot * SLOT_SECONDS, tz=UTC)
        )
        signed = SignedCheckpoint(new_size, grown.root, note, old_size, released=False)
        self._records.commit_checkpoint(self.log.log_id, signed)  # (7)
        self.frontier = grown
        self.reached(Step.COMMITTED)
        return signed

    def write_checkpoint(self, signed: SignedCheckpoint, *, slot: int) -> None:
        """Step 8."""
        self._files.write_checkpoint(signed.note, slot=slot)
        self.reached(Step.CHECKPOINT_FILE_WRITTEN)

    def mending(self, read: Callable[[], Read], size: int, *, slot: int) -> Read:
        """What is read from the tiles; if they are damaged, what is read from them made anew."""
        try:
            return read()
        except TilesDamaged:
            self.tree.rebuild(size, slot=slot)
            return read()

    def reached(self, step: Step) -> None:
        """Tell the observer."""
        self._observer.reached(step, self.log.log_id)

    def _write_and_read_back(self, old_size: int, new_size: int, *, slot: int) -> Frontier:
        entries = self._records.entries(self.log.log_id, old_size, new_size)
        expected = self.frontier.extended(leaf_hash(entry) for entry in entries)

        def read_back() -> None:
            if self.tree.read_back(old_size, new_size) != expected:
                raise TilesDamaged("what was read back has another root than the database")

        # (2)
        self.mending(lambda: self.tree.grow(old_size, new_size, slot=slot), new_size, slot=slot)
        self.reached(Step.TILES_WRITTEN)
        # (3)
        self.mending(read_back, new_size, slot=slot)
        self.reached(Step.READ_BACK)
        return expected

    def _sign(self, checkpoint: Checkpoint, previous_size: int, *, at: datetime) -> bytes:
        text = checkpoint.text()
        payloads = [
            self.log.payload_of(purpose, checkpoint.origin, text) for purpose, _ in self._keys
        ]
        # (4)
        permits = reserve_permits(
            payloads,
            owner=self.log.log_id,
            ledger=_Fence(self._records, self.log.log_id, checkpoint, previous_size, self._holder),
            at=at,
            life=PERMIT_LIFE,
        )
        self.reached(Step.INTENT_RECORDED)
        # (5)
        signatures = [
            (key, self._signature(key, permit, payload, at))
            for (_, key), permit, payload in zip(self._keys, permits, payloads, strict=True)
        ]
        self.reached(Step.SIGNED)
        # (6)
        note = assemble_note(text, signatures)
        verify_own(note, checkpoint, self.log.keys)
        self.reached(Step.VERIFIED)
        return note

    def _signature(
        self, key: VerifierKey, permit: SigningPermit, payload: Payload, at: datetime
    ) -> bytes:
        signature = self._backend.sign(permit, payload, at=at)
        if key.algorithm is NoteAlgorithm.ECDSA_P256:
            return signature.der()
        return signature.raw


@dataclass(frozen=True, slots=True)
class _Fence:
    """`signer.permit.PermitLedger` of one checkpoint: its permits are bound to its intent.

    Attributes:
        records: the log's database.
        log_id: names the log.
        checkpoint: what is to be signed.
        previous_size: the size of the checkpoint that it follows.
        holder: in whose name the intent is.
    """

    records: LogRecords
    log_id: str
    checkpoint: Checkpoint
    previous_size: int
    holder: str

    def reserve(self, records: Sequence[PermitRecord]) -> None:
        """The intent and the permits together."""
        self.records.intend(
            self.log_id,
            previous_size=self.previous_size,
            size=self.checkpoint.size,
            root=self.checkpoint.root,
            holder=self.holder,
            permits=records,
        )

    def spend(self, permit_ids: Sequence[str], at: datetime) -> None:
        """The permits, if the intent is still ours."""
        self.records.spend(
            self.log_id,
            size=self.checkpoint.size,
            holder=self.holder,
            permit_ids=permit_ids,
            at=at,
        )


def verify_own(note: bytes, checkpoint: Checkpoint, keys: LogKeys) -> None:
    """Check one of our own checkpoints: its signatures under the pinned keys, and its words.

    Raises:
        KeysChanged: it does not verify.
        LogForked: it says something else than was to be signed.
    """
    try:
        verified = open_note(UnverifiedNote.parse(note), keys.keys)
        keys.require(verified.keys)
    except (FormatRefused, NoteSignatureInvalid, NoteUnsigned, LogSignatureMissing) as error:
        raise KeysChanged("our own checkpoint does not verify under the pinned keys") from error
    if Checkpoint.parse(verified.text) != checkpoint:
        raise LogForked("our own checkpoint says something else than its record")


def tree_of(records: LogRecords, files: TileFiles, log_id: str) -> TreeFiles:
    """The tree of a log in its folder, fed from its database."""

    def entries(first: int, end: int) -> Sequence[bytes]:
        return records.entries(log_id, first, end)

    return TreeFiles(files, entries)
