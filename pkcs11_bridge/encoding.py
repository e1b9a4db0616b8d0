"""Signature encodings at the token's edge: raw r || s, DER, DigestInfo."""

from typing import Literal

from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

HashName = Literal["sha256", "sha384", "sha512"]

DIGEST_SIZES: dict[HashName, int] = {"sha256": 32, "sha384": 48, "sha512": 64}

# RFC 8017 section 9.2, note 1: the DER of DigestInfo up to the digest's octets
_DIGEST_INFO_PREFIXES: dict[HashName, bytes] = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def raw_to_der(raw: bytes) -> bytes:
    """Turn r || s (two numbers of one size) into the DER Ecdsa-Sig-Value (RFC 3279 2.2.3).

    Raises:
        ValueError: empty or of odd length.
    """
    if not raw or len(raw) % 2:
        raise ValueError("r || s has an even, positive length")
    half = len(raw) // 2
    return encode_dss_signature(
        int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    )


def der_to_raw(der: bytes, size: int) -> bytes:
    """Turn a DER Ecdsa-Sig-Value into r || s of ``size`` bytes each (P-256: 32).

    Raises:
        ValueError: not DER, or a number is negative or does not fit.
    """
    r, s = decode_dss_signature(der)
    if not (0 <= r < 1 << (8 * size) and 0 <= s < 1 << (8 * size)):
        raise ValueError("a number of the signature does not fit the curve")
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def check_digest(hash_name: HashName, digest: bytes) -> None:
    """Raises ValueError unless the digest has exactly the length of its hash.

    Tokens answer a digest of the wrong length with a general error or, worse, a signature.
    """
    if hash_name not in DIGEST_SIZES:
        raise ValueError("the hash is sha256, sha384 or sha512")
    if len(digest) != DIGEST_SIZES[hash_name]:
        raise ValueError(f"a {hash_name} digest has {DIGEST_SIZES[hash_name]} bytes")


def digest_info(hash_name: HashName, digest: bytes) -> bytes:
    """The DER DigestInfo that CKM_RSA_PKCS pads and signs (RFC 8017 section 9.2).

    Raises:
        ValueError: unknown hash, or a digest of another length.
    """
    check_digest(hash_name, digest)
    return _DIGEST_INFO_PREFIXES[hash_name] + digest
