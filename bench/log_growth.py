"""`log-growth`: appending to a log and proving from it, at ten thousand to ten million entries.

What is measured is the log's tree in its folder, as the sequencer uses it: a batch of 256 entries
grown into tiles (fsync included), read back, and proven; and the proof of one entry anywhere. The
ten million entries before it are not sequenced: their tile set is generated directly, every hash
of it real, of which only those files are written that a measured call may read. The database is
not part of it. Each size has a process of its own, so that its memory is its own.
"""

import hashlib
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.rows import Row
from signer.receipts.merkle import inclusion_path, leaf_hash, node_hash, verify_inclusion
from signer.receipts.tile_store import TileFolder
from signer.receipts.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TileAddress,
    TileNodes,
    encode_bundle,
    encode_hashes,
)
from signer.receipts.tree_files import TreeFiles

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
BATCH = 256
ROUNDS = 40
PROOFS = 200
MAX_RATIO = 2.0
MAX_MEGABYTES = 8.0
SLOT = 2_985_000


@dataclass(frozen=True, slots=True)
class Growth:
    """What one size gave.

    Attributes:
        append: median seconds per entry of a batch.
        proof: median seconds for one entry's proof and its verification.
        megabytes: largest resident set of the measuring process.
    """

    append: float
    proof: float
    megabytes: float


def rows() -> list[Row]:
    """Measure each size; the row compares ten million entries with a hundred thousand."""
    found = {size: _measured(size) for size in SIZES}
    for size, growth in found.items():
        print(
            f"log-growth: {size:>10,} entries: append {growth.append * 1e6:.0f} us per entry, "
            f"proof {growth.proof * 1e6:.0f} us, {growth.megabytes:.1f} MB resident"
        )
    least, most = found[SIZES[1]], found[SIZES[-1]]
    more = most.megabytes - least.megabytes
    ratio = max(most.append / least.append, most.proof / least.proof)
    return [
        Row(
            name="log-growth",
            value=round(most.append * 1e6, 1),
            unit="us per entry appended to 10 million",
            reference=round(least.append * 1e6, 1),
            ratio=round(ratio, 2),
            target=(
                f"append and proof <= {MAX_RATIO} x those at 100,000 entries (the ratio is the "
                f"larger), resident set <= {MAX_MEGABYTES:g} MB more; tiles alone"
            ),
            ok=ratio <= MAX_RATIO and more <= MAX_MEGABYTES,
        )
    ]


def _entry(seq: int) -> bytes:
    return hashlib.sha512(b"%d" % seq).digest() * 2  # as long as a ballot's entry


def _measured(size: int) -> Growth:
    # A whole number of tiles, so that the same files are touched at each size.
    size -= size % TILE_WIDTH
    with tempfile.TemporaryDirectory(prefix="tamga-bench-log-") as name:
        folder = Path(name)
        _in_a_process_of_its_own(_generate, folder, size)
        growth: Growth = _in_a_process_of_its_own(_measure, folder, size)
    return growth


def _in_a_process_of_its_own(work: Callable[..., None], folder: Path, size: int) -> Any:
    """What the work sends, of any type; raises EOFError if it ended before."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(folder, size, theirs))
    process.start()
    theirs.close()
    answer = ours.recv()
    process.join()
    return answer


def _proven(size: int) -> list[int]:
    """Entries whose proofs are measured, spread over the log."""
    return [size * number // PROOFS for number in range(PROOFS)]


def _generate(folder: Path, size: int, pipe: "Connection[Any, Any]") -> None:
    files = TileFolder(folder)
    kept = {seq // TILE_WIDTH for seq in _proven(size)} | {size // TILE_WIDTH - 1}
    hashes: list[bytes] = []
    for number in range(size // TILE_WIDTH):
        first = number * TILE_WIDTH
        entries = [_entry(seq) for seq in range(first, first + TILE_WIDTH)]
        leaves = [leaf_hash(entry) for entry in entries]
        if number in kept:
            bundle = (TileAddress(None, number, TILE_WIDTH), encode_bundle(entries))
            tile = (TileAddress(0, number, TILE_WIDTH), encode_hashes(leaves))
            files.write([bundle, tile], slot=SLOT)
        hashes.append(_root(leaves))
    level = 1
    while hashes:
        tiles = [hashes[i : i + TILE_WIDTH] for i in range(0, len(hashes), TILE_WIDTH)]
        files.write(
            [
                (TileAddress(level, number, len(tile)), encode_hashes(tile))
                for number, tile in enumerate(tiles)
            ],
            slot=SLOT,
        )
        hashes = [_root(tile) for tile in tiles if len(tile) == TILE_WIDTH]
        level += 1
    pipe.send(None)


def _root(hashes: Sequence[bytes]) -> bytes:
    layer = list(hashes)
    for _ in range(TILE_HEIGHT):
        layer = [node_hash(layer[i], layer[i + 1]) for i in range(0, len(layer), 2)]
    return layer[0]


def _measure(folder: Path, size: int, pipe: "Connection[Any, Any]") -> None:
    def entries(first: int, end: int) -> list[bytes]:
        return [_entry(seq) for seq in range(first, end)]

    tree = TreeFiles(TileFolder(folder), entries)
    proofs = []
    root = tree.frontier(size).root
    for seq in _proven(size):
        began = time.perf_counter()
        path = inclusion_path(seq, size, TileNodes(tree.hashes))
        verify_inclusion(seq, size, leaf_hash(_entry(seq)), path, root)
        proofs.append(time.perf_counter() - began)
    appends = []
    for old_size in range(size, size + ROUNDS * BATCH, BATCH):
        began = time.perf_counter()
        new_size = old_size + BATCH
        tree.grow(old_size, new_size, slot=SLOT)
        grown = tree.read_back(old_size, new_size)
        tree.paths(old_size, new_size, grown.root)
        appends.append((time.perf_counter() - began) / BATCH)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(Growth(statistics.median(appends), statistics.median(proofs), kilobytes / 1024))
