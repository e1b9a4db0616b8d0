"""The tree: published vectors, then every proof of small trees and what is near it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.receipts.errors import ConsistencyInvalid, HashMalformed, InclusionInvalid
from signer.receipts.merkle import (
    EMPTY_ROOT,
    Frontier,
    frontier_at,
    inclusion_path,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.support.receipts import VECTORS, memory_nodes, needs_vectors

LEAVES = [leaf_hash(bytes([i])) for i in range(40)]

# Both roots of this valid case are 12 bytes long; every hash here has 32.
SHORT_ROOTS = "sizes-are-equal-one-and-proof-is-empty.json"


def cases(kind: str) -> list[tuple[str, dict[str, Any]]]:
    folder = VECTORS / "merkle" / kind
    return [
        (path.name, json.loads(path.read_text()))
        for path in sorted(folder.rglob("*"))
        if path.suffix == ".json"
    ]


def decoded(value: str | None) -> bytes:
    return base64.b64decode(value or "")


def decoded_list(values: list[str | None] | None) -> list[bytes]:
    return [decoded(value) for value in values or []]


@needs_vectors
def test_reference_tree() -> None:
    reference = json.loads((VECTORS / "merkle" / "rfc6962_reference.json").read_text())
    hashes = [leaf_hash(bytes.fromhex(data)) for data in reference["leaf_inputs_hex"]]
    assert [value.hex() for value in hashes] == reference["leaf_hashes_hex"]
    roots = reference["root_by_size_hex"]
    for size in range(9):
        expected = roots[str(size)] if isinstance(roots, dict) else roots[size]
        assert root_of(hashes[:size]).hex() == expected


@needs_vectors
def test_inclusion_vectors() -> None:
    found = cases("inclusion")
    assert len(found) == 98
    for _, case in found:
        arguments = (
            case["leafIdx"],
            case["treeSize"],
            decoded(case["leafHash"]),
            decoded_list(case["proof"]),
            decoded(case["root"]),
        )
        if case["wantErr"]:
            with pytest.raises((InclusionInvalid, HashMalformed)):
                verify_inclusion(*arguments)
        else:
            verify_inclusion(*arguments)


@needs_vectors
def test_consistency_vectors() -> None:
    found = cases("consistency")
    assert len(found) == 98
    for name, case in found:
        arguments = (
            case["size1"],
            case["size2"],
            decoded_list(case["proof"]),
            decoded(case["root1"]),
            decoded(case["root2"]),
        )
        if case["wantErr"] or name == SHORT_ROOTS:
            with pytest.raises((ConsistencyInvalid, HashMalformed)):
                verify_consistency(*arguments)
        else:
            verify_consistency(*arguments)


def path_in(index: int, size: int) -> tuple[bytes, ...]:
    return inclusion_path(index, size, lambda level, i: memory_nodes(LEAVES, level, i))


@given(st.integers(1, 40), st.data())
def test_only_the_true_index_and_size_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path, root = path_in(index, size), root_of(LEAVES[:size])
    verify_inclusion(index, size, LEAVES[index], path, root)
    for other in range(-1, 42):
        if other != index:
            with pytest.raises(InclusionInvalid):
                verify_inclusion(other, size, LEAVES[index], path, root)


@given(st.integers(2, 40), st.data())
def test_any_flipped_bit_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = [LEAVES[index], root_of(LEAVES[:size]), *path_in(index, size)]
    which = data.draw(st.integers(0, len(hashes) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = int.from_bytes(hashes[which], "big") ^ 1 << bit
    hashes[which] = changed.to_bytes(32, "big")
    with pytest.raises(InclusionInvalid):
        verify_inclusion(index, size, hashes[0], hashes[2:], hashes[1])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_hash_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(HashMalformed):
        verify_inclusion(0, 1, LEAVES[0], [], bytes(length))
    with pytest.raises(HashMalformed):
        Frontier.empty().extended([bytes(length)])


@pytest.mark.parametrize(("size", "peaks"), [(1, ()), (0, (LEAVES[0],)), (-1, ()), (3, LEAVES[:1])])
def test_a_frontier_has_a_peak_for_each_bit(size: int, peaks: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="frontier"):
        Frontier(size, tuple(peaks))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_no_path_outside_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in the tree"):
        path_in(index, size)


@given(st.integers(0, 40))
def test_frontiers_grow_and_are_read_alike(size: int) -> None:
    grown = Frontier.empty().extended(LEAVES[:size])
    assert grown == frontier_at(size, lambda level, i: memory_nodes(LEAVES, level, i))
    assert grown.extended(LEAVES[size:]).root == root_of(LEAVES)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Frontier.empty().root == EMPTY_ROOT


def test_a_path_that_goes_on_is_refused() -> None:
    with pytest.raises(InclusionInvalid, match="too long"):
        verify_inclusion(0, 1, LEAVES[0], [LEAVES[1]], LEAVES[0])
    with pytest.raises(ConsistencyInvalid, match="too long"):
        verify_consistency(1, 2, [LEAVES[1], LEAVES[2]], LEAVES[0], root_of(LEAVES[:2]))
    with pytest.raises(ConsistencyInvalid, match="empty"):
        verify_consistency(2, 3, [], root_of(LEAVES[:2]), root_of(LEAVES[:3]))


def consistency_path(size1: int, size2: int) -> list[bytes]:
    """PROOF(size1, D[size2]) of RFC 6962, section 2.1.2, as it is written there."""

    def subproof(m: int, low: int, high: int, *, whole: bool) -> list[bytes]:
        n = high - low
        if m == n:
            return [] if whole else [root_of(LEAVES[low:high])]
        k = 1 << (n - 1).bit_length() - 1
        if m <= k:
            return [*subproof(m, low, low + k, whole=whole), root_of(LEAVES[low + k : high])]
        left = root_of(LEAVES[low : low + k])
        return [*subproof(m - k, low + k, high, whole=False), left]

    return subproof(size1, 0, size2, whole=True)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_larger_tree_extends_a_smaller_one(first: int, second: int) -> None:
    size1, size2 = sorted((first, second))
    root1, root2 = root_of(LEAVES[:size1]), root_of(LEAVES[:size2])
    path = consistency_path(size1, size2)
    verify_consistency(size1, size2, path, root1, root2)
    with pytest.raises(ConsistencyInvalid):
        verify_consistency(size1, size2, path, root2, root_of(LEAVES[:1] + LEAVES[:size2]))
