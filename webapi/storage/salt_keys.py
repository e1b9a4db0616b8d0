"""One key file per election, owner-only: erasing it erases the election's salts."""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from signer.receipts.durable import FILE_MODE, make_folder
from signer.receipts.errors import ReceiptsError, SaltErased
from signer.receipts.leaf import is_election_id
from signer.receipts.salt import KEY_BYTES, SaltKey

_OTHERS = 0o077
_SUFFIX = ".key"
_TEMPORARY = ".tmp-"


class SaltKeyUnsafe(ReceiptsError):
    """A salt key's file is open to other users, belongs to one, or has another length."""


class SaltKeysMissing(ReceiptsError):
    """There is no folder of salt keys, or none in it."""


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
                self._write_key(path, secrets.token_bytes(KEY_BYTES))
        self.key(election_id)

    def erase_key(self, election_id: str) -> None:
        """Remove an election's key; its salts can no more be read, here or in any backup.

        A disk may keep the old bytes for a while: keep the folder on an encrypted one.
        """
        if not self._folder.exists():
            return
        with self._changing():
            self._path(election_id).unlink(missing_ok=True)

    def has_key(self, election_id: str) -> bool:
        """Whether the election's salts can be read and drawn here."""
        return self._path(election_id).exists()

    def copy_keys_to(self, folder: Path) -> tuple[str, ...]:
        """Copy every key into another folder, which keeps those that it has.

        Keys must stay erasable: whoever erases one here erases it there, too.

        Returns:
            The elections whose keys were copied.

        Raises:
            SaltKeyUnsafe: a key here is not its owner's alone.
        """
        return FileSaltVault(folder).add_keys(self._keys())

    def all_keys(self) -> Mapping[str, bytes]:
        """Every key, by election.

        Raises:
            SaltKeysMissing: there is none.
            SaltKeyUnsafe: one is not its owner's alone.
        """
        keys = self._keys()
        if not keys:
            raise SaltKeysMissing(f"{self._folder} holds no salt key: is the medium there?")
        return keys

    def add_keys(self, keys: Mapping[str, bytes]) -> tuple[str, ...]:
        """Write those keys of `all_keys` that are not here; the elections of these."""
        make_folder(self._folder)
        added = []
        for election_id, key in keys.items():
            with self._changing():
                if not self.has_key(election_id):
                    self._write_key(self._path(election_id), key)
                    added.append(election_id)
        return tuple(added)

    def _keys(self) -> Mapping[str, bytes]:
        names = [path.name for path in sorted(self._folder.glob(f"*{_SUFFIX}"))]
        elections = [name.removesuffix(_SUFFIX) for name in names]
        return {
            election_id: self._key_bytes(election_id)
            for election_id in elections
            if is_election_id(election_id)
        }

    def key(self, election_id: str) -> SaltKey:
        """An election's key, read each time: an erased one is not to live on in memory.

        Raises:
            SaltErased, SaltKeyUnsafe: as they say.
        """
        return SaltKey(election_id, self._key_bytes(election_id))

    def _key_bytes(self, election_id: str) -> bytes:
        try:
            descriptor = os.open(self._path(election_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SaltErased("the election's salts were erased") from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            key = file.read(KEY_BYTES + 1)
        if status.st_uid != os.geteuid() or status.st_mode & _OTHERS or len(key) != KEY_BYTES:
            raise SaltKeyUnsafe("a salt key has 32 bytes and is its owner's alone")
        return key

    def _path(self, election_id: str) -> Path:
        if not is_election_id(election_id):
            raise ValueError("not an election id")
        return self._folder / f"{election_id}{_SUFFIX}"

    def _write_key(self, path: Path, key: bytes) -> None:
        temporary = self._folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
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
