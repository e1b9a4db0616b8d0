"""Tiles (C2SP tlog-tiles): their paths, what is in them, and proofs read from them. Pure.

A tile holds up to 256 hashes of one tile level; an entry bundle holds the entries under
a level-0 tile. A partial tile is a prefix of the full one, so the widest version
of a tile answers for every narrower one.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from signer.receipts.errors import TileMalformed
from signer.receipts.merkle import HASH_BYTES, node_hash

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
MAX_LEVEL = 7  # 256**8 entries are more than any log will have
MAX_ENTRY_BYTES = 65_535
_LENGTH_BYTES = 2
_ENTRIES = "entries"

_PATH = re.compile(
    r"(entries|[0-7])/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TileAddress:
    """Names a tile or an entry bundle.

    Attributes:
        level: tile level 0 to 7; None for an entry bundle.
        number: the tile's number on its level.
        width: number of hashes or entries in it, 1 to 256; 256 is a full tile.
    """

    level: int | None
    number: int
    width: int

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= MAX_LEVEL:
            raise TileMalformed("no such tile level")
        if self.number < 0 or not 1 <= self.width <= TILE_WIDTH:
            raise TileMalformed("no such tile")

    @classmethod
    def parse(cls, path: str) -> Self:
        """Read a path like `0/x001/234.p/5` or `entries/000`, in its one form.

        Raises:
            TileMalformed: the path is none of a tile.
        """
        match = _PATH.fullmatch(path)
        if match is None:
            raise TileMalformed("not the path of a tile")
        level = None if match[1] == _ENTRIES else int(match[1])
        number = int(match[2].replace("x", "").replace("/", ""))
        address = cls(level, number, int(match[3]) if match[3] else TILE_WIDTH)
        if address.path() != path:
            raise TileMalformed("not the canonical path of a tile")
        return address

    def path(self) -> str:
        """The path below `tile/`."""
        name = _ENTRIES if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"{name}/{_number_path(self.number)}{partial}"

    def is_within(self, size: int) -> bool:
        """Whether a log of this size has the tile, at this width or wider."""
        items = size >> (TILE_HEIGHT * (self.level or 0))
        return self.number * TILE_WIDTH + self.width <= items


def addresses_of_growth(old_size: int, new_size: int) -> Iterator[TileAddress]:
    """The tiles and bundles that change as a log grows, each at its new width.

    Entry bundles come first, then tile levels upwards, so that a tile is written
    when all that is below it is.
    """
    for level in (None, *range(MAX_LEVEL + 1)):
        shift = TILE_HEIGHT * (level or 0)
        old_items, new_items = old_size >> shift, new_size >> shift
        if old_items == new_items:
            continue
        for number in range(old_items // TILE_WIDTH, -(-new_items // TILE_WIDTH)):
            yield TileAddress(level, number, min(TILE_WIDTH, new_items - number * TILE_WIDTH))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """An entry bundle: each entry behind its length in two bytes.

    Raises:
        TileMalformed: an entry is too long, or there are more than 256.
    """
    if len(entries) > TILE_WIDTH or any(len(entry) > MAX_ENTRY_BYTES for entry in entries):
        raise TileMalformed("the entries do not fit a bundle")
    return b"".join(len(e).to_bytes(_LENGTH_BYTES, "big") + e for e in entries)


def decode_bundle(data: bytes) -> tuple[bytes, ...]:
    """The entries of a bundle.

    Raises:
        TileMalformed: the lengths do not fit the data, or there are more than 256.
    """
    entries: list[bytes] = []
    offset = 0
    while offset < len(data):
        start = offset + _LENGTH_BYTES
        end = start + int.from_bytes(data[offset:start], "big")
        if start > len(data) or end > len(data) or len(entries) == TILE_WIDTH:
            raise TileMalformed("the bundle's lengths do not fit its data")
        entries.append(data[start:end])
        offset = end
    return tuple(entries)


def cut(address: TileAddress, widest: bytes) -> bytes:
    """A tile or bundle at its address's width, cut from a version that is as wide or wider.

    Raises:
        TileMalformed: the version is malformed or narrower.
    """
    if address.level is None:
        entries = decode_bundle(widest)
        if len(entries) < address.width:
            raise TileMalformed("the bundle is narrower than asked")
        return encode_bundle(entries[: address.width])
    hashes = decode_hashes(widest)
    if len(hashes) < address.width:
        raise TileMalformed("the tile is narrower than asked")
    return encode_hashes(hashes[: address.width])


def encode_hashes(hashes: Sequence[bytes]) -> bytes:
    """A tile's bytes."""
    return b"".join(hashes)


def decode_hashes(data: bytes) -> tuple[bytes, ...]:
    """The hashes of a tile.

    Raises:
        TileMalformed: the length is not that of 1 to 256 hashes.
    """
    if not data or len(data) % HASH_BYTES or len(data) > TILE_WIDTH * HASH_BYTES:
        raise TileMalformed("a tile holds 1 to 256 hashes")
    return tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES))


class TileNodes:
    """Reads the roots of perfect subtrees from tiles; keeps a bounded number of them expanded.

    Args:
        read: the hashes of a tile by (level, number), as many as there are.
        keep: how many tiles stay expanded, 16 kB each.
    """

    def __init__(self, read: Callable[[int, int], Sequence[bytes]], *, keep: int = 64) -> None:
        self._read = read
        self._keep = keep
        self._expanded: OrderedDict[tuple[int, int], list[list[bytes]]] = OrderedDict()

    def __call__(self, level: int, index: int) -> bytes:
        """The root of the subtree of 2**level leaves; raises TileMalformed if it is not there."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        number, offset = divmod(index, TILE_WIDTH >> height)
        layers = self._layers(tile_level, number)
        if offset >= len(layers[height]):
            raise TileMalformed("the tile is narrower than the log")
        return layers[height][offset]

    def _layers(self, tile_level: int, number: int) -> list[list[bytes]]:
        key = (tile_level, number)
        if key in self._expanded:
            self._expanded.move_to_end(key)
            return self._expanded[key]
        layers = _expand(self._read(tile_level, number))
        self._expanded[key] = layers
        if len(self._expanded) > self._keep:
            self._expanded.popitem(last=False)
        return layers


def _expand(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """The layers above a tile's hashes, of perfect subtrees alone."""
    layers = [list(hashes)]
    for _ in range(TILE_HEIGHT):
        below = layers[-1]
        layers.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return layers


def tile_root(hashes: Sequence[bytes]) -> bytes:
    """The root of a full tile, which is one hash of the tile level above.

    Raises:
        TileMalformed: the tile is not full; a partial tile is never hashed upwards.
    """
    if len(hashes) != TILE_WIDTH:
        raise TileMalformed("only a full tile is hashed upwards")
    return _expand(hashes)[TILE_HEIGHT][0]


def _number_path(number: int) -> str:
    """Groups of three digits, all but the last behind an x: 1234067 is x001/x234/067."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)
