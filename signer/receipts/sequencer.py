"""One log's sequencer: from pending ballots to released receipts, in a durable order.

The order of `Sequencer.run_once`, where each step is durable before the next begins:

1. Places and final entry bytes are fixed in one transaction (shuffled). All that follows
   is a pure function of them, so a restart never shuffles again.
2. Entry bundles and tiles are written: temporary files, fsync, rename, fsync of folders.
3. They are read back, the root is computed from them, and compared with the root that
   the database's entries give. Damaged tiles are made anew from the database, once.
4. The intent (log, size, root) is recorded: the fence between two sequencers.
5. The intent is found to be still ours; each key signs once.
6. Our own signatures are verified under the keys that the manifest pins.
7. The signed bytes are committed to the database, from where alone they come ever after.
8. The checkpoint file is written.
9. The inclusion paths, each verified, are stored and the receipts released. Here, too,
   damaged tiles are made anew once; what is damaged still halts the log.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Protocol, TypeVar

from signer.backend import PayloadSigner
from signer.payload import Purpose, checkpoint_payload
from signer.receipts.acceptance import slot_of
from signer.receipts.batch import BatchView, NewEntry, Shuffle, plan_batch
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.election import Manifest
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
from signer.receipts.log_store import LogStore, SignedCheckpoint, TileFiles
from signer.receipts.merkle import Frontier, leaf_hash
from signer.receipts.note import (
    NoteAlgorithm,
    UnverifiedNote,
    VerifierKey,
    assemble_note,
    open_note,
)
from signer.receipts.policy import LogKeys
from signer.receipts.publication import Released, epoch_of, judge_publication
from signer.receipts.tree_files import TreeFiles

BATCH_LIMIT = 4096

Read = TypeVar("Read")


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

    def reached(self, step: Step, election_id: str) -> None:
        """A step is done."""


class SilentObserver:
    """An observer that does nothing."""

    def reached(self, step: Step, election_id: str) -> None:
        """Ignore the step."""


@dataclass(frozen=True, slots=True)
class Sequenced:
    """A batch whose receipts are released.

    Attributes:
        size: the new checkpoint's size.
        entries: how many entries it added.
    """

    size: int
    entries: int


class Sequencer:
    """Grows one log. Made by `open_sequencer`, which compares the records first."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        store: LogStore,
        files: TileFiles,
        signer: PayloadSigner,
        keys: Sequence[tuple[Purpose, VerifierKey]],
        shuffle: Shuffle,
        holder: str,
        observer: StepObserver,
        frontier: Frontier,
    ) -> None:
        self.election_id = manifest.election_id
        self._manifest_sha256 = manifest.sha256
        self._log_keys = LogKeys(manifest.origin, manifest.log_keys)
        self._store = store
        self._files = files
        self._tree = tree_of(store, files, manifest.election_id)
        self._signer = signer
        self._keys = keys
        self._shuffle = shuffle
        self._holder = holder
        self._observer = observer
        self._frontier = frontier

    def run_once(self, *, at: datetime) -> Sequenced | None:
        """Sequence what is pending.

        Returns:
            None where there was nothing to do.

        Raises:
            SequencerHalted: a subclass; this sequencer must not go on.
            SignerError: the keys could not sign; the same batch is tried again next time.
        """
        slot = slot_of(at)
        state = self._store.log_state(self.election_id)
        if state.signed_size != self._frontier.size:
            raise FenceLost("another sequencer has signed in the meantime")
        if state.signed is not None and not state.signed.released:
            self._release(state.signed, slot=slot)
        old_size, new_size = state.signed_size, state.entries
        if new_size == old_size:  # (1), unless a batch with places waits for its signature
            new_size += self._assign()
            if new_size == old_size:
                return None
            self._reached(Step.ASSIGNED)
        grown = self._write_and_read_back(old_size, new_size, slot=slot)
        checkpoint = Checkpoint(self._log_keys.origin, new_size, grown.root)
        # The permit's record must not tell the second either: a batch may hold one ballot.
        note = self._sign(checkpoint, at=datetime.fromtimestamp(slot * SLOT_SECONDS, tz=UTC))
        signed = SignedCheckpoint(new_size, grown.root, note, old_size, released=False)
        self._store.commit_checkpoint(self.election_id, signed)  # (7)
        self._frontier = grown
        self._reached(Step.COMMITTED)
        self._release(signed, slot=slot)
        return Sequenced(new_size, new_size - old_size)

    def publish_due(self, *, at: datetime, epoch: timedelta, least: int) -> int | None:
        """Let the public see more of the log, if its epoch has come.

        Call it before `run_once`: an epoch is judged by what was signed before it began, and
        the judgement is durable before anything is signed in it. Call it once more behind
        `run_once` for the genesis and the close record, which do not wait.

        Args:
            at: now, as `run_once` is told.
            epoch: how often the public checkpoint may advance.
            least: fewest entries by which it advances.

        Returns:
            The published size, None where it stayed.
        """
        state = self._store.log_state(self.election_id)
        judged = judge_publication(
            Released(state.released_size, state.is_closed),
            state.published,
            epoch=epoch_of(at, epoch),
            least=least,
        )
        if judged is None:
            return None
        self._store.publish(self.election_id, judged)
        return judged.size if judged.size > state.published.size else None

    def _assign(self) -> int:
        def plan(view: BatchView) -> Sequence[NewEntry]:
            return plan_batch(
                view,
                election_id=self.election_id,
                manifest_sha256=self._manifest_sha256,
                shuffle=self._shuffle,
            )

        return self._store.assign(self.election_id, limit=BATCH_LIMIT, plan=plan)

    def _write_and_read_back(self, old_size: int, new_size: int, *, slot: int) -> Frontier:
        entries = self._store.entries(self.election_id, old_size, new_size)
        expected = self._frontier.extended(leaf_hash(entry) for entry in entries)

        def read_back() -> None:
            if self._tree.read_back(old_size, new_size) != expected:
                raise TilesDamaged("what was read back has another root than the database")

        # (2)
        self._mending(lambda: self._tree.grow(old_size, new_size, slot=slot), new_size, slot=slot)
        self._reached(Step.TILES_WRITTEN)
        # (3)
        self._mending(read_back, new_size, slot=slot)
        self._reached(Step.READ_BACK)
        return expected

    def _sign(self, checkpoint: Checkpoint, *, at: datetime) -> bytes:
        # (4)
        self._store.intend(
            self.election_id, size=checkpoint.size, root=checkpoint.root, holder=self._holder
        )
        self._reached(Step.INTENT_RECORDED)
        # (5)
        if not self._store.holds_intent(
            self.election_id, size=checkpoint.size, holder=self._holder
        ):
            raise FenceLost(f"another sequencer took over at size {checkpoint.size}")
        text = checkpoint.text()
        signatures = [
            (key, self._signature(purpose, key, checkpoint.origin, text, at))
            for purpose, key in self._keys
        ]
        self._reached(Step.SIGNED)
        # (6)
        note = assemble_note(text, signatures)
        verify_own(note, checkpoint, self._log_keys)
        self._reached(Step.VERIFIED)
        return note

    def _signature(
        self, purpose: Purpose, key: VerifierKey, origin: str, text: bytes, at: datetime
    ) -> bytes:
        payload = checkpoint_payload(purpose, origin, text)
        signature = self._signer.sign(payload, owner=self.election_id, at=at)
        if key.algorithm is NoteAlgorithm.ECDSA_P256:
            return signature.der()
        return signature.raw

    def _release(self, signed: SignedCheckpoint, *, slot: int) -> None:
        # (8)
        self._files.write_checkpoint(signed.note, slot=slot)
        self._reached(Step.CHECKPOINT_FILE_WRITTEN)
        # (9)
        paths = self._mending(
            lambda: self._tree.paths(signed.previous_size, signed.size, signed.root),
            signed.size,
            slot=slot,
        )
        self._store.release(self.election_id, size=signed.size, paths=paths)
        self._reached(Step.RELEASED)

    def _mending(self, read: Callable[[], Read], size: int, *, slot: int) -> Read:
        """What is read from the tiles; if they are damaged, what is read from them made anew."""
        try:
            return read()
        except TilesDamaged:
            self._tree.rebuild(size, slot=slot)
            return read()

    def _reached(self, step: Step) -> None:
        self._observer.reached(step, self.election_id)


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


def tree_of(store: LogStore, files: TileFiles, election_id: str) -> TreeFiles:
    """The tree of a log in its folder, fed from its database."""

    def entries(first: int, end: int) -> Sequence[bytes]:
        return store.entries(election_id, first, end)

    return TreeFiles(files, entries)
