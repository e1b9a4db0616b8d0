"""What is done before a log grows: compare what database and disk say of it.

What a person must look at raises and is not mended; tiles follow from the database and are
made anew. The checkpoint file is the folder's own word on how far the log had grown, the one
thing that gives a restored database away, so without it the log halts: a person finds the
newest checkpoint that anyone has of the log, and puts it into the folder. That a whole host was
restored, database and folder from one snapshot, cannot be detected without a witness.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime

from signer.backend import SigningBackend
from signer.payload import Purpose
from signer.receipts.acceptance import slot_of
from signer.receipts.batch import PendingBallot, Shuffle
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.election import Manifest
from signer.receipts.errors import (
    CheckpointFileMalformed,
    CheckpointFileMissing,
    DatabaseBehind,
    FormatRefused,
    KeysChanged,
    LogForked,
    TilesDamaged,
)
from signer.receipts.growth import GrowingLog, LogIdentity, StepObserver, tree_of, verify_own
from signer.receipts.log_store import LogRecords, LogState, LogStore, TileFiles
from signer.receipts.merkle import Frontier
from signer.receipts.note import UnverifiedNote, VerifierKey
from signer.receipts.sequencer import Sequencer, ballot_log_of
from signer.receipts.tree_files import TreeFiles


def open_sequencer(
    manifest: Manifest,
    *,
    store: LogStore,
    files: TileFiles,
    backend: SigningBackend,
    purposes: Sequence[Purpose],
    at: datetime,
    observer: StepObserver,
    shuffle: Shuffle | None = None,
) -> Sequencer:
    """Open an election's log, as `open_log` does; then a sequencer may run.

    Args:
        manifest: the election's.
        store: the log's database.
        files: the log's folder.
        backend: signs checkpoints.
        purposes: the log keys that sign, ECDSA P-256 and, where the token has it, Ed25519.
        at: now.
        observer: is told of each step.
        shuffle: shuffles in place; by default from the operating system's random source.

    Raises:
        SequencerHalted: as `open_log`.
    """
    growing = open_log(
        ballot_log_of(manifest),
        records=store,
        files=files,
        backend=backend,
        purposes=purposes,
        at=at,
        observer=observer,
    )
    shuffle = shuffle or system_shuffle
    return Sequencer(manifest, store=store, growing=growing, shuffle=shuffle)


def open_log(
    log: LogIdentity,
    *,
    records: LogRecords,
    files: TileFiles,
    backend: SigningBackend,
    purposes: Sequence[Purpose],
    at: datetime,
    observer: StepObserver,
) -> GrowingLog:
    """Compare database, tiles and last signed bytes; then the log may grow.

    The caller holds the log's lock.

    Args:
        log: which one.
        records: its database.
        files: its folder.
        backend: signs its checkpoints.
        purposes: the keys that sign.
        at: now.
        observer: is told of each step.

    Raises:
        KeysChanged: the backend's keys are not those that are pinned.
        CheckpointFileMissing, CheckpointFileMalformed: the disk does not say how far the log
            had grown.
        DatabaseBehind: the database knows less than the disk, or less than it signed.
        LogForked: two records of one size differ.
        TilesDamaged: tiles differ from the database as soon as they are made anew.
    """
    keys = [(purpose, _pinned(backend, purpose, log)) for purpose in purposes]
    frontier = _compared(log, records, files, slot=slot_of(at))
    holder = secrets.token_hex(16)
    records.take_over(log.log_id, holder=holder)
    return GrowingLog(
        log,
        records=records,
        files=files,
        backend=backend,
        keys=keys,
        holder=holder,
        observer=observer,
        frontier=frontier,
    )


def _compared(log: LogIdentity, records: LogRecords, files: TileFiles, *, slot: int) -> Frontier:
    """Compare all records of a log; the tree that was signed last.

    1. The checkpoint file is there, well-formed, and one that the database committed.
    2. No tile holds more than the database.
    3. The database's entries have the root that was signed last.
    4. All bundles and tiles are what these entries give; if not, they are made anew.
    5. The checkpoint that was signed last verifies under the pinned keys. Its file is written.
    """
    # (1)
    state = compare_with_checkpoint_file(records, files, log.log_id)
    # (2)
    tree = tree_of(records, files, log.log_id)
    require_nothing_beyond(tree, records, log.log_id)
    if state.signed is None:
        return Frontier.empty()
    # (3)
    size = state.signed.size
    frontier = tree.frontier_of_entries(size)
    if frontier.root != state.signed.root:
        raise LogForked("the database's entries do not have the root that was signed")
    # (4)
    if not tree.is_whole(size):
        tree.rebuild(size, slot=slot)
        if not tree.is_whole(size):
            raise TilesDamaged("tiles that were made anew differ from the database")
    # (5)
    verify_own(state.signed.note, Checkpoint(log.origin, size, state.signed.root), log.keys)
    files.write_checkpoint(state.signed.note, slot=slot)
    return frontier


def system_shuffle(pending: list[PendingBallot]) -> None:
    """Shuffle in place from the operating system's random source."""
    secrets.SystemRandom().shuffle(pending)


def _pinned(backend: SigningBackend, purpose: Purpose, log: LogIdentity) -> VerifierKey:
    """The pinned key that is this purpose's."""
    key = VerifierKey.of(log.origin, backend.public_key(purpose))
    if key not in log.keys.keys:
        raise KeysChanged(f"the key of {purpose} is not one that is pinned for the log")
    return key


def compare_with_checkpoint_file(store: LogRecords, files: TileFiles, log_id: str) -> LogState:
    """Compare how far a log had grown by its folder's checkpoint and by its database.

    A sequencer writes the database first. So what the folder shows is compared with what the
    database says afterwards, and one that goes on meanwhile is no contradiction.

    Returns:
        What the database says.

    Raises:
        CheckpointFileMissing, CheckpointFileMalformed: the disk does not say.
        DatabaseBehind: the database knows less than the disk, or less than it signed.
        LogForked: they differ at the same size.
    """
    state = store.log_state(log_id)
    file = files.read_checkpoint()
    if file is not None:
        state = store.log_state(log_id)
    if state.signed_size > state.entries:
        raise DatabaseBehind("the database signed more entries than it holds")
    if file is None:
        # Between the first signature and its release, the file is yet to be written.
        if state.released_size > 0:
            raise CheckpointFileMissing(
                f"the log was signed up to size {state.signed_size}: was its folder lost?"
            )
        return state
    try:
        written = Checkpoint.parse(UnverifiedNote.parse(file).text)
    except FormatRefused as error:
        raise CheckpointFileMalformed("the checkpoint file is malformed") from error
    if written.size > state.signed_size:
        raise DatabaseBehind(
            f"the disk has a checkpoint of size {written.size}, "
            f"the database one of {state.signed_size}: was a backup restored?"
        )
    committed = store.checkpoint(log_id, written.size)
    if committed is None or committed.root != written.root:
        raise LogForked(f"disk and database differ at size {written.size}")
    return state


def require_nothing_beyond(tree: TreeFiles, store: LogRecords, log_id: str) -> None:
    """Find no tile with more entries than the database has, also while both grow.

    Raises:
        DatabaseBehind: there is one.
    """
    size = store.log_state(log_id).entries
    while tree.has_more_than(size):
        entries = store.log_state(log_id).entries
        if entries == size:
            raise DatabaseBehind(
                f"the disk has entries beyond the database's {size}: was a backup restored?"
            )
        size = entries
