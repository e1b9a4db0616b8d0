"""What a sequencer does before its first batch: compare what database and disk say of a log.

What a person must look at raises and is not mended; tiles follow from the database and are
made anew. The checkpoint file is the folder's own word on how far the log had grown, the one
thing that gives a restored database away, so without it the log halts: a person finds the
newest checkpoint that anyone has of the log, and puts it into the folder. That a whole host was
restored, database and folder from one snapshot, cannot be detected without a witness.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime

from signer.backend import PayloadSigner
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
from signer.receipts.log_store import LogState, LogStore, TileFiles
from signer.receipts.merkle import Frontier
from signer.receipts.note import UnverifiedNote, VerifierKey
from signer.receipts.policy import LogKeys
from signer.receipts.sequencer import Sequencer, StepObserver, tree_of, verify_own
from signer.receipts.tree_files import TreeFiles


def open_sequencer(
    manifest: Manifest,
    *,
    store: LogStore,
    files: TileFiles,
    signer: PayloadSigner,
    purposes: Sequence[Purpose],
    at: datetime,
    observer: StepObserver,
    shuffle: Shuffle | None = None,
) -> Sequencer:
    """Compare database, tiles and last signed bytes; then a sequencer may run.

    The caller holds the log's lock.

    Args:
        manifest: the election's.
        store: the log's database.
        files: the log's folder.
        signer: signs checkpoints.
        purposes: the log keys that sign, ECDSA P-256 and, where the token has it, Ed25519.
        at: now.
        observer: is told of each step.
        shuffle: shuffles in place; by default from the operating system's random source.

    Raises:
        KeysChanged: the signer's keys are not the manifest's.
        CheckpointFileMissing, CheckpointFileMalformed: the disk does not say how far the log
            had grown.
        DatabaseBehind: the database knows less than the disk, or less than it signed.
        LogForked: two records of one size differ.
        TilesDamaged: tiles differ from the database as soon as they are made anew.
    """
    election_id = manifest.election_id
    keys = [(purpose, _pinned(signer, purpose, manifest)) for purpose in purposes]
    frontier = _compared(manifest, store, files, slot=slot_of(at))
    holder = secrets.token_hex(16)
    store.take_over(election_id, holder=holder)
    return Sequencer(
        manifest,
        store=store,
        files=files,
        signer=signer,
        keys=keys,
        shuffle=shuffle or system_shuffle,
        holder=holder,
        observer=observer,
        frontier=frontier,
    )


def _compared(manifest: Manifest, store: LogStore, files: TileFiles, *, slot: int) -> Frontier:
    """Compare all records of a log; the tree that was signed last.

    1. The checkpoint file is there, well-formed, and one that the database committed.
    2. No tile holds more than the database.
    3. The database's entries have the root that was signed last.
    4. All bundles and tiles are what these entries give; if not, they are made anew.
    5. The checkpoint that was signed last verifies under the pinned keys. Its file is written.
    """
    # (1)
    state = compare_with_checkpoint_file(store, files, manifest.election_id)
    # (2)
    tree = tree_of(store, files, manifest.election_id)
    require_nothing_beyond(tree, store, manifest.election_id)
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
    checkpoint = Checkpoint(manifest.origin, size, state.signed.root)
    verify_own(state.signed.note, checkpoint, LogKeys(manifest.origin, manifest.log_keys))
    files.write_checkpoint(state.signed.note, slot=slot)
    return frontier


def system_shuffle(pending: list[PendingBallot]) -> None:
    """Shuffle in place from the operating system's random source."""
    secrets.SystemRandom().shuffle(pending)


def _pinned(signer: PayloadSigner, purpose: Purpose, manifest: Manifest) -> VerifierKey:
    """The manifest's key that is this purpose's."""
    key = VerifierKey.of(manifest.origin, signer.public_key(purpose))
    if key not in manifest.log_keys:
        raise KeysChanged(f"the manifest does not pin the key of {purpose}")
    return key


def compare_with_checkpoint_file(store: LogStore, files: TileFiles, election_id: str) -> LogState:
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
    state = store.log_state(election_id)
    file = files.read_checkpoint()
    if file is not None:
        state = store.log_state(election_id)
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
    committed = store.checkpoint(election_id, written.size)
    if committed is None or committed.root != written.root:
        raise LogForked(f"disk and database differ at size {written.size}")
    return state


def require_nothing_beyond(tree: TreeFiles, store: LogStore, election_id: str) -> None:
    """Find no tile with more entries than the database has, also while both grow.

    Raises:
        DatabaseBehind: there is one.
    """
    size = store.log_state(election_id).entries
    while tree.has_more_than(size):
        entries = store.log_state(election_id).entries
        if entries == size:
            raise DatabaseBehind(
                f"the disk has entries beyond the database's {size}: was a backup restored?"
            )
        size = entries
