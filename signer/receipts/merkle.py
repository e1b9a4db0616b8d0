"""The Merkle tree of RFC 6962, section 2.1 (RFC 9162, section 2.1): hashes, proofs, growth.

Every hash is SHA-256 and exactly 32 bytes. A node is named by (level, index): the
root of the perfect subtree over the leaves index * 2**level to (index + 1) * 2**level.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from signer.receipts.errors import ConsistencyInvalid, HashMalformed, InclusionInvalid

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
MAX_SIZE = 2**63 - 1

NodeReader = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry), 32 bytes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree of which only the right edge is kept: enough to grow it and to know its root.

    Attributes:
        size: number of leaves.
        peaks: roots of the perfect subtrees that make up the tree, the largest first;
            one for each bit that is set in `size`.
    """

    size: int
    peaks: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.peaks) != self.size.bit_count():
            raise ValueError("a frontier has a peak for each bit of its size")
        _require_hashes(self.peaks)

    @classmethod
    def empty(cls) -> Self:
        """The tree without leaves."""
        return cls(0, ())

    def extended(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The tree after these leaves were appended."""
        size, peaks = self.size, list(self.peaks)
        for new in leaf_hashes:
            _require_hashes((new,))
            node, rest = new, size
            while rest & 1:  # equal subtrees merge, as a binary counter carries
                node = node_hash(peaks.pop(), node)
                rest >>= 1
            peaks.append(node)
            size += 1
        return Frontier(size, tuple(peaks))

    @property
    def root(self) -> bytes:
        """The tree's root, 32 bytes; SHA-256 of nothing for the empty tree."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over leaf hashes, 32 bytes."""
    return Frontier.empty().extended(leaf_hashes).root


def frontier_at(size: int, node: NodeReader) -> Frontier:
    """The frontier of the tree of the first `size` leaves, its peaks read from `node`."""
    peaks = []
    start = 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            peaks.append(node(level, start >> level))
            start += 1 << level
    return Frontier(size, tuple(peaks))


def inclusion_path(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """PATH(index, D[size]) of RFC 6962, section 2.1.1: the hashes beside the way up.

    Args:
        index: the leaf, 0 <= index < size.
        size: number of leaves.
        node: reads the root of a perfect subtree.

    Returns:
        Hashes of 32 bytes, the leaf's sibling first.

    Raises:
        ValueError: the leaf is not in the tree.
    """
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    path = []
    low, high = 0, size
    while high - low > 1:
        split = low + _largest_power_below(high - low)
        if index < split:
            path.append(_range_hash(split, high, node))
            high = split
        else:
            path.append(_range_hash(low, split, node))
            low = split
    return tuple(reversed(path))


def verify_inclusion(
    index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes
) -> None:
    """RFC 9162, section 2.1.3.2, step by step.

    Args:
        index: position of the leaf.
        size: size of the tree.
        leaf: the leaf's hash, 32 bytes.
        path: hashes of 32 bytes, the leaf's sibling first.
        root: the tree's root, 32 bytes.

    Raises:
        HashMalformed: a hash is not 32 bytes long.
        InclusionInvalid: the path does not prove the leaf to be there.
    """
    _require_hashes((leaf, root, *path))
    # 1. The leaf is inside the tree.
    if not 0 <= index < size <= MAX_SIZE:
        raise InclusionInvalid("the index is outside the tree")
    # 2. and 3. fn and sn are index and last index; r is the leaf hash.
    first, second, result = index, size - 1, leaf
    # 4. Each hash of the path.
    for step in path:
        if second == 0:
            raise InclusionInvalid("the path is too long")
        if first & 1 or first == second:
            result = node_hash(step, result)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            result = node_hash(result, step)
        first, second = first >> 1, second >> 1
    # 5. The whole way up was gone, and it leads to the root.
    if second != 0:
        raise InclusionInvalid("the path is too short")
    if result != root:
        raise InclusionInvalid("the path leads to another root")


def verify_consistency(
    size1: int, size2: int, path: Sequence[bytes], root1: bytes, root2: bytes
) -> None:
    """RFC 9162, section 2.1.4.2, step by step: the second tree extends the first.

    Raises:
        HashMalformed: a hash is not 32 bytes long.
        ConsistencyInvalid: the path does not prove it; also when `size1` is zero.
    """
    _require_hashes((root1, root2, *path))
    # 0. Sizes are positive and grow; equal trees need no proof.
    if not 0 < size1 <= size2 <= MAX_SIZE:
        raise ConsistencyInvalid("the sizes are not positive and growing")
    if size1 == size2:
        if path or root1 != root2:
            raise ConsistencyInvalid("trees of one size have one root and no proof")
        return
    # 1. and 2. A first tree that is perfect is itself the first hash.
    hashes = [root1, *path] if size1 & (size1 - 1) == 0 else list(path)
    if not path:
        raise ConsistencyInvalid("the path is empty")
    # 3. and 4. fn and sn are the last indexes, without the levels that both share.
    first, second = size1 - 1, size2 - 1
    while first & 1:
        first, second = first >> 1, second >> 1
    # 5. fr and sr begin with the first hash.
    old = new = hashes[0]
    # 6. Each further hash.
    for step in hashes[1:]:
        if second == 0:
            raise ConsistencyInvalid("the path is too long")
        if first & 1 or first == second:
            old, new = node_hash(step, old), node_hash(step, new)
            while not first & 1 and first:
                first, second = first >> 1, second >> 1
        else:
            new = node_hash(new, step)
        first, second = first >> 1, second >> 1
    # 7. Both roots were met, and the whole way up was gone.
    if old != root1 or new != root2 or second != 0:
        raise ConsistencyInvalid("the path leads to other roots")


def _require_hashes(hashes: Iterable[bytes]) -> None:
    for value in hashes:
        if len(value) != HASH_BYTES:
            raise HashMalformed("a hash has 32 bytes")


def _largest_power_below(count: int) -> int:
    """The largest power of two that is smaller than `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _range_hash(low: int, high: int, node: NodeReader) -> bytes:
    """The root over the leaves low to high, where `low` is where a split put it."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, low >> level)
    split = low + _largest_power_below(count)
    return node_hash(_range_hash(low, split, node), _range_hash(split, high, node))
