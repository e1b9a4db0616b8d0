"""One key file per election, owner-only: erasing it erases the election's salts."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from signer.receipts.errors import ReceiptsError, SaltErased
from signer.receipts.leaf import is_election_id
from signer.receipts.salt import KEY_BYTES, open_salt, seal_salt

_OTHERS = 0o077


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
        was encrypted with.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(election_id)
        temporary = self._folder / f".tmp-{secrets.token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        # A link appears whole or not at all, and never replaces a key that is in use.
        with suppress(FileExistsError):
            path.hardlink_to(temporary)
        temporary.unlink()
        self._sync()
        self._key(election_id)

    def erase_key(self, election_id: str) -> None:
        """Remove an election's key; its salts can no more be read, here or in any backup.

        A disk may keep the old bytes for a while: keep the folder on an encrypted one.
        """
        self._path(election_id).unlink(missing_ok=True)
        self._sync()

    def seal(self, election_id: str, submission_id: str, salt: bytes) -> bytes:
        """Encrypt a salt; raises SaltErased or SaltKeyUnsafe."""
        return seal_salt(self._key(election_id), election_id, submission_id, salt)

    def open(self, election_id: str, submission_id: str, sealed: bytes) -> bytes:
        """Decrypt a salt; raises SaltErased, SaltDamaged or SaltKeyUnsafe."""
        return open_salt(self._key(election_id), election_id, submission_id, sealed)

    def _key(self, election_id: str) -> bytes:
        """The key, read each time: an erased one is not to live on in memory."""
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
        return self._folder / f"{election_id}.key"

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
