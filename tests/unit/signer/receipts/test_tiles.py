"""Tiles: paths, contents, and the folder that they are kept in."""

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.receipts.errors import SequencerRunning, TileMalformed, TilesDamaged
from signer.receipts.log_store import EntryPath
from signer.receipts.merkle import frontier_at, inclusion_path, leaf_hash, root_of, verify_inclusion
from signer.receipts.tile_store import TileFolder
from signer.receipts.tiles import (
    TileAddress,
    TileNodes,
    addresses_of_growth,
    cut,
    decode_bundle,
    decode_hashes,
    encode_bundle,
    encode_hashes,
    tile_root,
)
from signer.receipts.tree_files import TreeFiles

ENTRIES = [b"entry %d" % number for number in range(70_000)]


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (TileAddress(0, 1_234_067, 256), "0/x001/x234/067"),
        (TileAddress(None, 0, 256), "entries/000"),
        (TileAddress(3, 999, 7), "3/999.p/7"),
        (TileAddress(None, 1000, 255), "entries/x001/000.p/255"),
    ],
)
def test_paths(address: TileAddress, path: str) -> None:
    assert address.path() == path
    assert TileAddress.parse(path) == address


@pytest.mark.parametrize(
    "path",
    [
        "",
        "8/000",
        "entry/000",
        "0/00",
        "0/0000",
        "0/x000/000",
        "0/001/000",
        "0/x001/x000",
        "0/000.p/0",
        "0/000.p/256",
        "0/000.p/257",
        "0/000.p/01",
        "0/000.p",
        "0/000/",
        "/0/000",
        "0/../0/000",
        "0/٠٠٠",
        "0/x001/x001/x001/x001/x001/x001/000",
    ],
)
def test_malformed_paths(path: str) -> None:
    with pytest.raises(TileMalformed):
        TileAddress.parse(path)


@given(st.text(max_size=30))
def test_random_paths_are_refused_or_canonical(path: str) -> None:
    try:
        assert TileAddress.parse(path).path() == path
    except TileMalformed:
        return


@pytest.mark.parametrize(
    ("level", "number", "width"), [(8, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)]
)
def test_no_such_tile(level: int, number: int, width: int) -> None:
    with pytest.raises(TileMalformed):
        TileAddress(level, number, width)


@pytest.mark.parametrize(
    ("path", "size", "within"),
    [
        ("0/000.p/1", 0, False),
        ("0/000.p/1", 1, True),
        ("0/000", 255, False),
        ("0/000", 256, True),
        ("entries/001.p/2", 257, False),
        ("1/000.p/1", 255, False),
        ("1/000.p/1", 256, True),
    ],
)
def test_what_a_published_size_lets_out(path: str, size: int, *, within: bool) -> None:
    assert TileAddress.parse(path).is_within(size) is within


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_bundles_round_trip(entries: list[bytes]) -> None:
    assert list(decode_bundle(encode_bundle(entries))) == entries


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x00" * 257])
def test_malformed_bundles(data: bytes) -> None:
    with pytest.raises(TileMalformed):
        decode_bundle(data)


@given(st.binary(max_size=100))
def test_random_bundles(data: bytes) -> None:
    try:
        assert encode_bundle(decode_bundle(data)) == data
    except TileMalformed:
        return


@pytest.mark.parametrize("entries", [[bytes(65_536)], [b""] * 257])
def test_entries_that_fit_no_bundle(entries: list[bytes]) -> None:
    with pytest.raises(TileMalformed):
        encode_bundle(entries)


@pytest.mark.parametrize("length", [0, 31, 33, 257 * 32])
def test_malformed_tiles(length: int) -> None:
    with pytest.raises(TileMalformed):
        decode_hashes(bytes(length))


def test_only_full_tiles_are_hashed_upwards() -> None:
    with pytest.raises(TileMalformed):
        tile_root([bytes(32)] * 255)


def test_tiles_are_cut_from_wider_ones() -> None:
    hashes = encode_hashes([bytes([n]) * 32 for n in range(9)])
    assert cut(TileAddress(0, 0, 5), hashes) == hashes[:160]
    with pytest.raises(TileMalformed):
        cut(TileAddress(0, 0, 10), hashes)
    bundle = encode_bundle([b"a", b"b"])
    assert cut(TileAddress(None, 0, 1), bundle) == encode_bundle([b"a"])
    with pytest.raises(TileMalformed):
        cut(TileAddress(None, 0, 3), bundle)


def test_growth_of_a_level() -> None:
    paths = [address.path() for address in addresses_of_growth(255, 513)]
    assert paths == [
        "entries/000",
        "entries/001",
        "entries/002.p/1",
        "0/000",
        "0/001",
        "0/002.p/1",
        "1/000.p/2",
    ]
    assert list(addresses_of_growth(7, 7)) == []


def tree(folder: Path) -> TreeFiles:
    return TreeFiles(TileFolder(folder), lambda first, end: ENTRIES[first:end])


def test_proofs_over_three_levels(tmp_path: Path) -> None:
    size = 66_000
    made = tree(tmp_path)
    for old, new in [(0, 65_535), (65_535, 65_536), (65_536, size)]:
        made.grow(old, new, slot=5)
        assert made.read_back(old, new).size == new
    leaves = [leaf_hash(entry) for entry in ENTRIES[:size]]
    root = root_of(leaves)
    assert made.frontier(size).root == root
    nodes = TileNodes(made.hashes, keep=2)
    assert frontier_at(65_536, nodes).root == root_of(leaves[:65_536])
    for index in (0, 255, 256, 65_535, 65_536, size - 1):
        path = inclusion_path(index, size, nodes)
        verify_inclusion(index, size, leaves[index], path, root)
    last = inclusion_path(size - 1, size, nodes)
    assert made.paths(size - 1, size, root) == [EntryPath(size - 1, last)]
    with pytest.raises(TilesDamaged, match="another root"):
        made.paths(size - 1, size, bytes(32))


def test_a_log_that_is_wider_than_its_tiles(tmp_path: Path) -> None:
    made = tree(tmp_path)
    made.grow(0, 10, slot=5)
    with pytest.raises(TilesDamaged, match="narrower"):
        made.frontier(11)
    with pytest.raises(TilesDamaged, match="narrower"):
        made.paths(0, 11, bytes(32))
    with pytest.raises(TilesDamaged, match="narrower"):
        made.read_back(0, 11)
    with pytest.raises(TilesDamaged, match="missing"):
        made.frontier(300)


def test_malformed_files_on_the_disk(tmp_path: Path) -> None:
    made = tree(tmp_path)
    made.grow(0, 1, slot=5)
    (tmp_path / "tile" / "0" / "000.p" / "1").write_bytes(b"x")
    with pytest.raises(TilesDamaged, match="tile 0/0"):
        made.frontier(1)
    made.grow(0, 1, slot=5)
    (tmp_path / "tile" / "entries" / "000.p" / "1").write_bytes(b"x")
    with pytest.raises(TilesDamaged, match="bundle 0"):
        made.read_back(0, 1)


# The folder.


def test_one_sequencer_holds_the_lock_and_leftovers_go(tmp_path: Path) -> None:
    folder = TileFolder(tmp_path / "log")
    with folder.locked(), pytest.raises(SequencerRunning), TileFolder(tmp_path / "log").locked():
        pass
    leftover = tmp_path / "log" / "tile" / ".tmp-1"
    leftover.parent.mkdir()
    leftover.touch()
    with folder.locked():
        assert not leftover.exists()


def test_a_full_disk_is_not_filled_with_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TileFolder(tmp_path)
    synchronise = os.fsync
    left = 1

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "no space left on device")
        synchronise(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    tiles = [(TileAddress(0, 0, 1), bytes(32)), (TileAddress(1, 0, 1), bytes(32))]
    with pytest.raises(OSError, match="no space"):
        folder.write(tiles, slot=5)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_empty_folder(tmp_path: Path) -> None:
    folder = TileFolder(tmp_path)
    assert folder.read(0, 0) is None
    assert folder.read_checkpoint() is None
    folder.set_aside()
    assert list(tmp_path.iterdir()) == []


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = TileFolder(tmp_path)
    folder.write([(TileAddress(0, 0, 1), bytes(32))], slot=5)
    folder.write_checkpoint(b"note", slot=5)
    with folder.locked():
        pass
    modes = {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")}
    assert modes == {0}


def test_reading_while_wider_versions_are_written(tmp_path: Path) -> None:
    folder = TileFolder(tmp_path)
    folder.write([(TileAddress(0, 0, 1), bytes(32))], slot=5)
    lengths: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            data = folder.read(0, 0)
            assert data is not None
            lengths.append(len(data))

    thread = threading.Thread(target=read)
    thread.start()
    for width in range(2, 40):
        folder.write([(TileAddress(0, 0, width), bytes(32 * width))], slot=5)
    done.set()
    thread.join()
    assert lengths == sorted(lengths)


def test_a_version_that_is_replaced_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TileFolder(tmp_path)
    folder.write([(TileAddress(0, 0, 2), bytes(64))], slot=5)
    seen = [[1], [2]]
    monkeypatch.setattr("signer.receipts.tile_store._widths", lambda _full: seen.pop(0))
    assert folder.read(0, 0) == bytes(64)
