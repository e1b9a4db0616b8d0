"""Salts, encrypted per election so that erasing one key erases them all."""

import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from signer.receipts.errors import SaltDamaged

KEY_BYTES = 32
_NONCE_BYTES = 12  # 96 random bits are good for 2**32 salts of one key (NIST SP 800-38D, 8.3)


class SaltKey:
    """One election's salt key, for one piece of work: whoever keeps it outlives its erasure.

    Args:
        election_id: the salts are bound to it.
        key: 32 bytes.
    """

    def __init__(self, election_id: str, key: bytes) -> None:
        self._election_id = election_id
        self._cipher = AESGCM(key)

    def seal(self, submission_id: str, salt: bytes) -> bytes:
        """A salt under AES-256-GCM: nonce of 12 bytes, ciphertext, tag; bound to its submission."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, salt, self._bound_to(submission_id))

    def open(self, submission_id: str, sealed: bytes) -> bytes:
        """The salt that `seal` encrypted.

        Raises:
            SaltDamaged: other bytes, another key or another submission.
        """
        nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, encrypted, self._bound_to(submission_id))
        except (InvalidTag, ValueError) as error:
            message = "a stored salt does not open under the election's key"
            raise SaltDamaged(message) from error

    def _bound_to(self, submission_id: str) -> bytes:
        return f"{self._election_id}\n{submission_id}".encode()


class SaltVault(Protocol):
    """Keeps the elections' salt keys."""

    def key(self, election_id: str) -> SaltKey:
        """An election's key as it is now; raises SaltErased once it is gone."""


def draw_salt() -> bytes:
    """32 bytes from the operating system's random source."""
    return os.urandom(32)
