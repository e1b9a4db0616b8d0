"""The tree on disk: growing it tile by tile, reading it back, proving from it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from signer.receipts.errors import InclusionInvalid, TileMalformed, TilesDamaged
from signer.receipts.log_store import EntryPath, TileFiles
from signer.receipts.merkle import (
    Frontier,
    frontier_at,
    inclusion_path,
    leaf_hash,
    verify_inclusion,
)
from signer.receipts.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
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

ReadEntries = Callable[[int, int], Sequence[bytes]]
REBUILD_STEP = 65_536  # entries in memory at once while tiles are rebuilt


class TreeFiles:
    """One log's tree in its folder.

    Args:
        files: the folder.
        entries: reads entries from the database, from one index up to another.
    """

    def __init__(self, files: TileFiles, entries: ReadEntries) -> None:
        self._files = files
        self._entries = entries

    def grow(self, old_size: int, new_size: int, *, slot: int) -> None:
        """Write all tiles that change between two sizes, level by level.

        A level is written from what was read back of the level below.

        Raises:
            TilesDamaged: a tile below is missing or malformed.
        """
        levels: dict[int | None, list[TileAddress]] = {}
        for address in addresses_of_growth(old_size, new_size):
            levels.setdefault(address.level, []).append(address)
        for addresses in levels.values():
            contents = [(address, self._content(address, old_size)) for address in addresses]
            self._files.write(contents, slot=slot)

    def rebuild(self, size: int, *, slot: int) -> None:
        """Write all tiles of a log anew from the database; the old ones are set aside."""
        self._files.set_aside()
        for start in range(0, size, REBUILD_STEP):
            self.grow(start, min(size, start + REBUILD_STEP), slot=slot)

    def read_back(self, old_size: int, new_size: int) -> Frontier:
        """The tree of the given size as the disk holds it.

        The new entries are hashed again from their bundles; everything else that the
        root depends on is read from tiles.

        Raises:
            TilesDamaged: a file is missing, malformed, or disagrees with another.
        """
        for number in range(old_size // TILE_WIDTH, -(-new_size // TILE_WIDTH)):
            width = min(TILE_WIDTH, new_size - number * TILE_WIDTH)
            bundle = self._read(None, number)
            hashes = self.hashes(0, number)
            try:
                entries = decode_bundle(bundle)
            except TileMalformed as error:
                raise TilesDamaged(f"entry bundle {number} is malformed") from error
            if len(entries) < width or len(hashes) < width:
                raise TilesDamaged(f"bundle or tile {number} is narrower than the log")
            if tuple(leaf_hash(entry) for entry in entries[:width]) != hashes[:width]:
                raise TilesDamaged(f"bundle and tile {number} disagree")
        return self.frontier(new_size)

    def frontier(self, size: int) -> Frontier:
        """The tree of a size, read from tiles alone.

        Raises:
            TilesDamaged: a tile is missing, malformed or too narrow.
        """
        try:
            return frontier_at(size, TileNodes(self.hashes))
        except TileMalformed as error:
            raise TilesDamaged("a tile is narrower than the log") from error

    def paths(self, first: int, size: int, root: bytes) -> list[EntryPath]:
        """The inclusion paths of the last entries of a tree, each verified.

        Args:
            first: index of the first entry that needs a path.
            size: the tree's size.
            root: the root that was signed for it, 32 bytes.

        Raises:
            TilesDamaged: a tile is missing, malformed or too narrow, or a path that was
                read from tiles does not lead from the database's entry to the root.
        """
        nodes = TileNodes(self.hashes)
        paths = []
        try:
            for seq, entry in enumerate(self._entries(first, size), first):
                path = inclusion_path(seq, size, nodes)
                verify_inclusion(seq, size, leaf_hash(entry), path, root)
                paths.append(EntryPath(seq, path))
        except TileMalformed as error:
            raise TilesDamaged("a tile is narrower than the log") from error
        except InclusionInvalid as error:
            raise TilesDamaged("the tiles lead to another root than was signed") from error
        return paths

    def has_more_than(self, size: int) -> bool:
        """Whether the folder holds a well-formed bundle or tile with an entry beyond a size."""
        address = TileAddress(None, size // TILE_WIDTH, size % TILE_WIDTH + 1)
        return any(self._cut(wider) is not None for wider in (address, replace(address, level=0)))

    def is_whole(self, size: int) -> bool:
        """Whether the folder holds exactly what follows from the first entries of the database."""
        return self.first_difference(size) is None

    def first_difference(self, size: int) -> TileAddress | None:
        """The first bundle or tile that is not what follows from the database's first entries.

        Every one is compared, level by level, so a level above is compared with what was
        found good below.
        """
        for address in addresses_of_growth(0, size):
            if self._cut(address) != self._content(address, old_size=0):
                return address
        return None

    def frontier_of_entries(self, size: int) -> Frontier:
        """The tree of a size, hashed from the entries of the database."""
        frontier = Frontier.empty()
        for start in range(0, size, REBUILD_STEP):
            entries = self._entries(start, min(size, start + REBUILD_STEP))
            frontier = frontier.extended(leaf_hash(entry) for entry in entries)
        return frontier

    def hashes(self, level: int, number: int) -> tuple[bytes, ...]:
        """The hashes of a tile, as wide as it is; raises TilesDamaged."""
        try:
            return decode_hashes(self._read(level, number))
        except TileMalformed as error:
            raise TilesDamaged(f"tile {level}/{number} is malformed") from error

    def _read(self, level: int | None, number: int) -> bytes:
        data = self._files.read(level, number)
        if data is None:
            raise TilesDamaged(f"tile {level}/{number} is missing")
        return data

    def _cut(self, address: TileAddress) -> bytes | None:
        """What the folder holds under an address; None if it is missing, malformed or narrower."""
        widest = self._files.read(address.level, address.number)
        if widest is None:
            return None
        try:
            return cut(address, widest)
        except TileMalformed:
            return None

    def _content(self, address: TileAddress, old_size: int) -> bytes:
        first = address.number * TILE_WIDTH
        end = first + address.width
        if address.level is None:
            return encode_bundle(self._entries(first, end))
        if address.level == 0:
            return encode_hashes([leaf_hash(entry) for entry in self._entries(first, end)])
        old_items = max(first, min(end, old_size >> (TILE_HEIGHT * address.level)))
        kept: tuple[bytes, ...] = ()
        if old_items > first:
            kept = self.hashes(address.level, address.number)[: old_items - first]
        below = (self.hashes(address.level - 1, item) for item in range(old_items, end))
        return encode_hashes([*kept, *(tile_root(hashes) for hashes in below)])
