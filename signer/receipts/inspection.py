"""What a person asks of a log that was halted: what differs, and its tiles made again.

No key is needed, and nothing is signed.
"""

from collections.abc import Callable

from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import LogForked, SequencerHalted, TilesDamaged
from signer.receipts.growth import LogIdentity, tree_of, verify_own
from signer.receipts.log_store import LogRecords, SignedCheckpoint, TileFiles
from signer.receipts.merkle import Frontier, leaf_hash
from signer.receipts.opening import compare_with_checkpoint_file, require_nothing_beyond
from signer.receipts.tree_files import TreeFiles


def inspect_log(
    log: LogIdentity, *, store: LogRecords, files: TileFiles
) -> tuple[SequencerHalted, ...]:
    """Compare all records of a log, also one that is in use; nothing is changed.

    1. The folder's checkpoint is one that the database committed.
    2. No tile holds more than the database.
    3. Every checkpoint that was ever committed verifies under the pinned keys, and the
       database's entries have its root.
    4. All bundles and tiles are what these entries give.

    Returns:
        For each of these that does not hold, what differs first; empty where nothing does.

    Raises:
        ElectionNotFound: there is no such election.
    """
    state = store.log_state(log.log_id)
    tree = tree_of(store, files, log.log_id)
    checks: tuple[Callable[[], object], ...] = (
        lambda: compare_with_checkpoint_file(store, files, log.log_id),
        lambda: require_nothing_beyond(tree, store, log.log_id),
        lambda: check_checkpoints(log, store, state.signed),
        lambda: _check_tiles(tree, state.signed_size),
    )
    found = []
    for check in checks:
        try:
            check()
        except SequencerHalted as difference:
            found.append(difference)
    return tuple(found)


def rebuild_tiles(log: LogIdentity, *, store: LogRecords, files: TileFiles, slot: int) -> bool:
    """Make the tiles of a log again from its database; the old ones are moved aside.

    The caller holds the log's lock.

    Args:
        log: which one.
        store: the log's database.
        files: the log's folder.
        slot: the present ten-minute slot, which is all that file dates may tell.

    Returns:
        False where they were as they should be, and nothing was changed.

    Raises:
        ElectionNotFound: there is no such election.
        SequencerHalted: more than tiles differs, or tiles differ as soon as they are made
            again; a person must look first.
    """
    found = inspect_log(log, store=store, files=files)
    for difference in found:
        if not isinstance(difference, TilesDamaged):
            raise difference
    if not found:
        return False
    size = store.log_state(log.log_id).signed_size
    tree = tree_of(store, files, log.log_id)
    tree.rebuild(size, slot=slot)
    _check_tiles(tree, size)
    return True


def check_checkpoints(log: LogIdentity, store: LogRecords, newest: SignedCheckpoint | None) -> None:
    """Find every checkpoint signed, and the database's entries to have its root.

    Args:
        log: which one.
        store: its database.
        newest: the checkpoint that was committed last, None where there is none.

    Raises:
        LogForked: entries and checkpoints differ, or one is missing.
        KeysChanged: a pinned key's signature does not verify.
    """
    frontier = Frontier.empty()
    for size in _signed_sizes(log.log_id, store, newest):
        signed = _committed(log.log_id, store, size)
        entries = store.entries(log.log_id, frontier.size, size)
        frontier = frontier.extended(leaf_hash(entry) for entry in entries)
        if (frontier.size, frontier.root) != (size, signed.root):
            raise LogForked(f"the database's entries do not have the root signed for size {size}")
        verify_own(signed.note, Checkpoint(log.origin, size, signed.root), log.keys)


def _signed_sizes(log_id: str, store: LogRecords, newest: SignedCheckpoint | None) -> list[int]:
    """The sizes of all committed checkpoints, the smallest first."""
    sizes: list[int] = []
    signed = newest
    while signed is not None:
        sizes.append(signed.size)
        previous = signed.previous_size
        if not 0 <= previous < signed.size:
            raise LogForked(f"the checkpoint of size {signed.size} follows a larger one")
        signed = _committed(log_id, store, previous) if previous else None
    return sizes[::-1]


def _committed(log_id: str, store: LogRecords, size: int) -> SignedCheckpoint:
    signed = store.checkpoint(log_id, size)
    if signed is None:
        raise LogForked(f"the database lacks the checkpoint of size {size}")
    return signed


def _check_tiles(tree: TreeFiles, size: int) -> None:
    address = tree.first_difference(size)
    if address is not None:
        raise TilesDamaged(f"tile/{address.path()} is missing, or not what the database gives")
