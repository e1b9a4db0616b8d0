"""The rim to the disk: one log's folder of tiles, its checkpoint file and its lock.

Files are named as tlog-tiles names them. Only the widest version of a tile is kept, for it
answers for all narrower ones. File dates tell the ten-minute slot and no more.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from signer.receipts.durable import FILE_MODE, make_folder, make_folders, sync_folder
from signer.receipts.errors import SequencerRunning
from signer.receipts.leaf import SLOT_SECONDS
from signer.receipts.tiles import TILE_WIDTH, TileAddress

_TEMPORARY = ".tmp-"
_PARTIAL = ".p"


class TileFolder:
    """One log's folder; `signer.receipts.log_store.TileFiles` on a local disk.

    Args:
        folder: made when it is missing, for its owner alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tiles = folder / "tile"
        self._checkpoint = folder / "checkpoint"
        self._policy = folder / "policy"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the log's lock, and sweep up what a crash left behind.

        The lock keeps a second sequencer from starting; what makes two impossible is the
        fence in the database.

        Raises:
            SequencerRunning: another process holds it.
        """
        make_folder(self._folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._folder / "lock", flags, FILE_MODE)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SequencerRunning(f"another process sequences {self._folder.name}") from error
            for leftover in self._folder.rglob(f"{_TEMPORARY}*"):
                leftover.unlink()
            yield
        finally:
            os.close(descriptor)

    def write(self, files: Sequence[tuple[TileAddress, bytes]], *, slot: int) -> None:
        """Write tiles durably: temporary files, fsync, rename, fsync of the folders."""
        targets = [(self._tiles / address.path(), data) for address, data in files]
        self._write_all(targets, slot=slot)
        for address, _ in files:
            self._remove_narrower(address, slot=slot)

    def read(self, level: int | None, number: int) -> bytes | None:
        """The widest version of a tile, or of an entry bundle where `level` is None."""
        full = self._tiles / TileAddress(level, number, TILE_WIDTH).path()
        while True:
            if full.exists():
                return full.read_bytes()
            widths = _widths(full)
            if not widths:
                # The full tile may have replaced the last partial one in between.
                return full.read_bytes() if full.exists() else None
            try:
                return (_partial_folder(full) / str(max(widths))).read_bytes()
            except FileNotFoundError:  # replaced by a wider version in between
                continue

    def set_aside(self) -> None:
        """Move all tiles out of the way, where a person can look at them."""
        if self._tiles.exists():
            self._tiles.rename(self._folder / f"tile.damaged-{secrets.token_hex(4)}")
            sync_folder(self._folder)

    def write_checkpoint(self, note: bytes, *, slot: int) -> None:
        """Write the newest checkpoint's file, as durably as tiles."""
        self._write_all([(self._checkpoint, note)], slot=slot)

    def read_checkpoint(self) -> bytes | None:
        """The newest checkpoint's file; None where there is none."""
        return _read_if_there(self._checkpoint)

    def write_policy(self, policy: bytes, *, slot: int) -> None:
        """Write the file that pins the log's keys, as durably as tiles."""
        self._write_all([(self._policy, policy)], slot=slot)

    def read_policy(self) -> bytes | None:
        """The file that pins the log's keys; None where there is none."""
        return _read_if_there(self._policy)

    def _write_all(self, files: Sequence[tuple[Path, bytes]], *, slot: int) -> None:
        coarse = (slot * SLOT_SECONDS, slot * SLOT_SECONDS)
        folders: dict[Path, None] = {}
        written = []
        with ExitStack() as failed:
            for target, data in files:
                for folder in make_folders(target.parent):
                    folders[folder] = None
                temporary = target.parent / f"{_TEMPORARY}{secrets.token_hex(8)}"
                # A full disk is not filled further by what each new try leaves behind.
                failed.callback(temporary.unlink, missing_ok=True)
                _write_file(temporary, data, coarse)
                written.append((temporary, target))
            for temporary, target in written:
                temporary.rename(target)
            failed.pop_all()
        for folder in folders:
            os.utime(folder, coarse)
            sync_folder(folder)

    def _remove_narrower(self, address: TileAddress, *, slot: int) -> None:
        full = self._tiles / TileAddress(address.level, address.number, TILE_WIDTH).path()
        narrower = [width for width in _widths(full) if width < address.width]
        for width in narrower:
            (_partial_folder(full) / str(width)).unlink(missing_ok=True)
        if narrower:
            os.utime(_partial_folder(full), (slot * SLOT_SECONDS, slot * SLOT_SECONDS))


def _partial_folder(full: Path) -> Path:
    return full.with_name(full.name + _PARTIAL)


def _read_if_there(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _widths(full: Path) -> list[int]:
    """The widths of a tile's partial versions on the disk."""
    try:
        names = [path.name for path in _partial_folder(full).iterdir()]
    except FileNotFoundError:
        return []
    return [int(name) for name in names if name.isdecimal()]


def _write_file(path: Path, data: bytes, times: tuple[int, int]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.utime(descriptor, times)
        os.fsync(descriptor)
