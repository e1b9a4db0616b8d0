"""Salts, encrypted per election so that erasing one key erases them all."""

import os
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from signer.receipts.errors import SaltDamaged

KEY_BYTES = 32
_NONCE_BYTES = 12  # 96 random bits are good for 2**32 salts of one key (NIST SP 800-38D, 8.3)


class SaltVault(Protocol):
    """Keeps the elections' salt keys."""

    def seal(self, election_id: str, submission_id: str, salt: bytes) -> bytes:
        """Encrypt a salt; raises SaltErased once the election's key is gone."""

    def open(self, election_id: str, submission_id: str, sealed: bytes) -> bytes:
        """Decrypt a salt; raises SaltErased or SaltDamaged."""


def draw_salt() -> bytes:
    """32 bytes from the operating system's random source."""
    return os.urandom(32)


def seal_salt(key: bytes, election_id: str, submission_id: str, salt: bytes) -> bytes:
    """A salt under AES-256-GCM: nonce of 12 bytes, ciphertext, tag; bound to its submission."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, salt, _bound_to(election_id, submission_id))


def open_salt(key: bytes, election_id: str, submission_id: str, sealed: bytes) -> bytes:
    """The salt that `seal_salt` encrypted.

    Raises:
        SaltDamaged: other bytes, another key or another submission.
    """
    nonce, encrypted = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    try:
        return AESGCM(key).decrypt(nonce, encrypted, _bound_to(election_id, submission_id))
    except (InvalidTag, ValueError) as error:
        raise SaltDamaged("a stored salt does not open under the election's key") from error


def _bound_to(election_id: str, submission_id: str) -> bytes:
    return f"{election_id}\n{submission_id}".encode()
