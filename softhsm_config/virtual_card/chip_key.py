"""Private keys as the card's chip uses them: the raw operation on what the host prepared. Pure."""

from enum import Enum
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from softhsm_config.errors import InputUnfit

RSA_BLOCK = 256
P256_ORDER_BYTES = 32


class CardAlgorithm(Enum):
    """Key types of the card with their PIV algorithm identifiers (SP 800-78-4 table 6-2)."""

    RSA_2048 = 0x07
    EC_P256 = 0x11

    @property
    def piv_code(self) -> int:
        """Algorithm identifier, P1 of GENERAL AUTHENTICATE."""
        return self.value


class ChipKey(Protocol):
    """A private key inside the chip."""

    @property
    def algorithm(self) -> CardAlgorithm:
        """The key's type."""
        ...

    def sign(self, challenge: bytes) -> bytes:
        """Work on a challenge from the host; raises InputUnfit."""
        ...


class RsaChipKey:
    """RSA-2048: input is the padded block of 256 bytes, output the raw private operation."""

    algorithm = CardAlgorithm.RSA_2048

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._numbers = key.private_numbers()

    def sign(self, challenge: bytes) -> bytes:
        """Return challenge^d mod n by the Chinese remainder theorem (RFC 8017 section 5.1.2).

        Raises:
            InputUnfit: Not 256 bytes, or not below the modulus.
        """
        numbers = self._numbers
        block = int.from_bytes(challenge, "big")
        if len(challenge) != RSA_BLOCK or block >= numbers.public_numbers.n:
            raise InputUnfit("not one RSA-2048 block")
        first = pow(block, numbers.dmp1, numbers.p)
        second = pow(block, numbers.dmq1, numbers.q)
        result = second + numbers.q * ((first - second) * numbers.iqmp % numbers.p)
        return result.to_bytes(RSA_BLOCK, "big")


class EcChipKey:
    """P-256: input is a digest, output a DER ECDSA-Sig-Value (SP 800-73-4 part 2, A.4)."""

    algorithm = CardAlgorithm.EC_P256

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def sign(self, challenge: bytes) -> bytes:
        """Sign a digest; a shorter one is a smaller number, a longer one loses its tail.

        Raises:
            InputUnfit: The digest is empty.
        """
        if not challenge:
            raise InputUnfit("empty digest")
        # FIPS 186-5 section 6.4.1: the leftmost bits of the order's length are used.
        digest = challenge[:P256_ORDER_BYTES].rjust(P256_ORDER_BYTES, b"\0")
        return self._key.sign(digest, ec.ECDSA(Prehashed(SHA256())))


def chip_key(key: object) -> RsaChipKey | EcChipKey:
    """Wrap a software key as the chip's.

    Raises:
        InputUnfit: Neither RSA-2048 nor P-256.
    """
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size == RSA_BLOCK * 8:
        return RsaChipKey(key)
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return EcChipKey(key)
    raise InputUnfit("the card holds RSA-2048 and P-256 keys alone")
