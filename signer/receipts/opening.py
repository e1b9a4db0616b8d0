"""What a sequencer does before its first batch: compare what database and disk say of a log.

What a person must look at raises and is not mended; what follows from the database
(tiles, the checkpoint file) is made anew.
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

    The caller holds the log's lock. What a person must look at raises and is not mended;
    what follows from the database (tiles, the checkpoint file) is made anew.

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
        DatabaseBehind: the database knows less than the disk, or less than it signed.
        LogForked: two records of one size differ.
    """
    election_id = manifest.election_id
    keys = [(purpose, _pinned(signer, purpose, manifest)) for purpose in purposes]
    state = store.log_state(election_id)
    _compare_with_checkpoint_file(state, files.read_checkpoint(), store, election_id)
    tree = tree_of(store, files, election_id)
    _compare_with_tiles(state, tree)
    frontier = _signed_frontier(state, tree, slot=slot_of(at))
    if state.signed is not None:
        checkpoint = Checkpoint(manifest.origin, state.signed.size, state.signed.root)
        verify_own(state.signed.note, checkpoint, LogKeys(manifest.origin, manifest.log_keys))
        files.write_checkpoint(state.signed.note, slot=slot_of(at))
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


def system_shuffle(pending: list[PendingBallot]) -> None:
    """Shuffle in place from the operating system's random source."""
    secrets.SystemRandom().shuffle(pending)


def _pinned(signer: PayloadSigner, purpose: Purpose, manifest: Manifest) -> VerifierKey:
    """The manifest's key that is this purpose's."""
    key = VerifierKey.of(manifest.origin, signer.public_key(purpose))
    if key not in manifest.log_keys:
        raise KeysChanged(f"the manifest does not pin the key of {purpose}")
    return key


def _compare_with_checkpoint_file(
    state: LogState, file: bytes | None, store: LogStore, election_id: str
) -> None:
    if state.signed_size > state.entries:
        raise DatabaseBehind("the database signed more entries than it holds")
    if file is None:
        return
    try:
        written = Checkpoint.parse(UnverifiedNote.parse(file).text)
    except FormatRefused as error:
        raise TilesDamaged("the checkpoint file is malformed") from error
    if written.size > state.signed_size:
        raise DatabaseBehind(
            f"the disk has a checkpoint of size {written.size}, "
            f"the database one of {state.signed_size}: was a backup restored?"
        )
    committed = store.checkpoint(election_id, written.size)
    if committed is None or committed.root != written.root:
        raise LogForked(f"disk and database differ at size {written.size}")


def _compare_with_tiles(state: LogState, tree: TreeFiles) -> None:
    try:
        ahead = tree.has_more_than(state.entries)
    except FormatRefused as error:
        raise TilesDamaged("the newest tile is malformed") from error
    if ahead:
        raise DatabaseBehind(
            f"the disk has entries beyond the database's {state.entries}: was a backup restored?"
        )


def _signed_frontier(state: LogState, tree: TreeFiles, *, slot: int) -> Frontier:
    """The tree at the last signed size, from tiles or, where they are damaged, made anew."""
    if state.signed is None:
        return Frontier.empty()
    try:
        frontier = tree.frontier(state.signed.size)
    except TilesDamaged:
        frontier = None
    if frontier is None or frontier.root != state.signed.root:
        tree.rebuild(state.entries, slot=slot)
        frontier = tree.read_back(0, state.signed.size)
    if frontier.root != state.signed.root:
        raise LogForked("the database's entries do not have the root that was signed")
    return frontier
