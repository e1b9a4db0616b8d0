"""One key file per election, owner-only: erasing it erases the election's salts."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from signer.receipts.durable import FILE_MODE, make_folder
from signer.receipts.errors import ReceiptsError, SaltErased
from signer.receipts.leaf import is_election_id
from signer.receipts.salt import KEY_BYTES, SaltKey

_OTHERS = 0o077
_TEMPORARY = ".tmp-"


class SaltKeyUnsafe(ReceiptsError):
    """A salt key's file is open to other users, belongs to one, or has another length."""


class FileSaltVault:
    """`signer.receipts.salt.SaltVault` with key files in one folder.

    Args:
        folder: made when it is missing, for its owner alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ensure_key(self, election_id: str) -> None:
        """Draw a new election's key and write its file durably; keep one that is there.

        Call it before the election is stored: a crash in between leaves a key that no salt
        was encrypted with. Never call it for an election that is stored: its key may have
        been erased.
        """
        make_folder(self._folder)
        path = self._path(election_id)
        with self._changing():
            if not path.exists():
                self._write_key(path)
        self.key(election_id)

    def erase_key(self, election_id: str) -> None:
        """Remove an election's key; its salts can no more be read, here or in any backup.

        A disk may keep the old bytes for a while: keep the folder on an encrypted one.
        """
        if not self._folder.exists():
            return
        with self._changing():
            self._path(election_id).unlink(missing_ok=True)

    def key(self, election_id: str) -> SaltKey:
        """An election's key, read each time: an erased one is not to live on in memory.

        Raises:
            SaltErased, SaltKeyUnsafe: as they say.
        """
        try:
            descriptor = os.open(self._path(election_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SaltErased("the election's salts were erased") from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            key = file.read(KEY_BYTES + 1)
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS or len(key) != KEY_BYTES:
            raise SaltKeyUnsafe("a salt key has 32 bytes and is its owner's alone")
        return SaltKey(election_id, key)

    def _path(self, election_id: str) -> Path:
        if not is_election_id(election_id):
            raise ValueError("not an election id")
        return self._folder / f"{election_id}.key"

    def _write_key(self, path: Path) -> None:
        temporary = self._folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change keys: one process at a time, without a crash's leftovers, and durably.

        A leftover may hold the bytes of a key, so it goes when keys are erased, too.
        """
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for leftover in self._folder.glob(f"{_TEMPORARY}*"):
                leftover.unlink()
            yield
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
