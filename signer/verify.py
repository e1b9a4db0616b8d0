"""Verification of raw signatures: one allow-listed algorithm per kind of key."""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from signer.errors import SignatureInvalid

P256_RAW_BYTES = 64

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


def raw_to_der(raw: bytes) -> bytes:
    """DER Ecdsa-Sig-Value (RFC 3279, section 2.2.3) of a raw P-256 signature r || s.

    Args:
        raw: 64 bytes, two big-endian numbers of 32 bytes each.
    """
    half = P256_RAW_BYTES // 2
    return encode_dss_signature(
        int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    )


def verify_raw(public_key: PublicKey, message: bytes, raw: bytes) -> None:
    """Verify a service key's signature: ECDSA P-256 or RSA with SHA-256, or pure Ed25519.

    Args:
        public_key: the key it must be from.
        message: the signed bytes.
        raw: 64 bytes: r || s (FIPS 186-5), or an Ed25519 signature (RFC 8032). Of an RSA key
            RSASSA-PKCS1-v1_5 (RFC 8017), as long as the modulus.

    Raises:
        SignatureInvalid: it does not verify.
    """
    if not isinstance(public_key, rsa.RSAPublicKey) and len(raw) != P256_RAW_BYTES:
        raise SignatureInvalid("a raw signature has 64 bytes")
    try:
        if isinstance(public_key, rsa.RSAPublicKey):
            public_key.verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(public_key, ed25519.Ed25519PublicKey):
            public_key.verify(raw, message)
        else:
            digest = hashlib.sha256(message).digest()
            public_key.verify(raw_to_der(raw), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature as error:
        raise SignatureInvalid("the signature is not by this key over these bytes") from error
