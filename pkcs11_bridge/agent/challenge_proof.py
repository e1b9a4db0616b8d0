"""The challenge proof: a login nonce that says which service made it.

Mechanism. A Web eID page carries nothing to the agent but a nonce of 44 to 128 characters. The
service therefore hides a signature of its HSM inside it:

    nonce  = base64(random[24] || kid[4] || expiry[4] || signature[64])    96 bytes, 128 chars
    signed = "tamga/login-challenge/1" 00 || u8 len(origin) || origin || random || kid || expiry

``expiry`` is big-endian Unix seconds, ``signature`` is ECDSA P-256 with SHA-256 as raw r || s
(RFC 7518 section 3.4), ``kid`` the first four bytes of SHA-256 over the key's SubjectPublicKeyInfo
(it only selects a pinned key; trust comes from the pin). The card later signs the nonce's 128
characters as they stand, so the proof is covered by the login itself.

This file is pure and is the one codec that the agent and the service share.
"""

import base64
import hashlib
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime, timedelta
from typing import Never

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from pkcs11_bridge.agent.errors import (
    ForeignReason,
    OriginInvalid,
    ProofForeign,
    ProofMissing,
    ProofStale,
    ProofTooLongLived,
)

__all__ = [
    "LABEL",
    "MAX_LIFE",
    "ForeignReason",
    "OriginInvalid",
    "ProofForeign",
    "ProofMissing",
    "ProofStale",
    "ProofTooLongLived",
    "ProvenChallenge",
    "UnverifiedProof",
    "encode",
    "key_id",
    "signed_text",
    "verify",
]

LABEL = b"tamga/login-challenge/1"
RANDOM_SIZE = 24
KEY_ID_SIZE = 4
EXPIRY_SIZE = 4
SIGNATURE_SIZE = 64
PROOF_SIZE = RANDOM_SIZE + KEY_ID_SIZE + EXPIRY_SIZE + SIGNATURE_SIZE
NONCE_LENGTH = 128
MAX_ORIGIN_SIZE = 255
MAX_LIFE = timedelta(hours=24)
"""A proof whose expiry is further away than this is refused: stocks are refilled daily at least."""

_SEAL = object()


def key_id(spki_der: bytes) -> bytes:
    """The four bytes that select a key: SHA-256(SubjectPublicKeyInfo DER)[:4]."""
    return hashlib.sha256(spki_der).digest()[:KEY_ID_SIZE]


def signed_text(origin: str, random: bytes, kid: bytes, expiry: int) -> bytes:
    """The message (not yet hashed) that the service's HSM signs.

    Args:
        origin: ``https://host[:port]``, ASCII, 1 to 255 bytes.
        random: 24 bytes, never used twice.
        kid: 4 bytes of ``key_id``.
        expiry: Unix seconds, below 2**32.

    Raises:
        OriginInvalid: the origin is empty, longer than 255 bytes or not ASCII.
        ValueError: another part has the wrong size.
    """
    if not origin.isascii() or not 1 <= len(origin) <= MAX_ORIGIN_SIZE:
        raise OriginInvalid("an origin is 1 to 255 ASCII characters")
    origin_bytes = origin.encode("ascii")
    fields = _fields(random, kid, expiry)
    return LABEL + b"\0" + bytes([len(origin_bytes)]) + origin_bytes + fields


def encode(random: bytes, kid: bytes, expiry: int, signature: bytes) -> str:
    """The nonce: 128 characters of standard base64.

    Raises:
        ValueError: a part has the wrong size.
    """
    if len(signature) != SIGNATURE_SIZE:
        raise ValueError("the signature is raw r || s of 64 bytes")
    return base64.b64encode(_fields(random, kid, expiry) + signature).decode("ascii")


def _fields(random: bytes, kid: bytes, expiry: int) -> bytes:
    """``random || kid || expiry``, sizes checked."""
    if len(random) != RANDOM_SIZE or len(kid) != KEY_ID_SIZE:
        raise ValueError("random is 24 bytes and kid 4")
    if not 0 <= expiry < 2**32:
        raise ValueError("expiry is an unsigned 32-bit number of seconds")
    return random + kid + expiry.to_bytes(EXPIRY_SIZE, "big")


@dataclass(frozen=True, slots=True)
class UnverifiedProof:
    """A nonce that has the shape of a proof; nothing in it is believed yet."""

    nonce: str
    random: bytes
    kid: bytes
    expiry: int
    signature: bytes

    @classmethod
    def parse(cls, unverified_nonce: str) -> "UnverifiedProof":
        """Cut a nonce into its fields.

        Raises:
            ProofMissing: not exactly 96 bytes in 128 base64 characters; an ordinary Web eID
                nonce (44 characters) is the usual case.
        """
        if len(unverified_nonce) != NONCE_LENGTH:
            raise ProofMissing("the nonce has no room for a proof")
        try:
            raw = base64.b64decode(unverified_nonce, validate=True)
        except ValueError as e:
            raise ProofMissing("the nonce is not base64") from e
        # Padding inside 128 characters gives fewer bytes: such a nonce is no proof either.
        if len(raw) != PROOF_SIZE:
            raise ProofMissing("the nonce is not 96 bytes")
        kid_at, expiry_at, signature_at = 24, 28, 32
        return cls(
            nonce=unverified_nonce,
            random=raw[:kid_at],
            kid=raw[kid_at:expiry_at],
            expiry=int.from_bytes(raw[expiry_at:signature_at], "big"),
            signature=raw[signature_at:],
        )


@dataclass(frozen=True, slots=True)
class ProvenChallenge:
    """A nonce that a pinned key of this origin signed, and that is still fresh.

    What it does not prove: that the challenge is unused. Only the service knows that.
    """

    origin: str
    nonce: str
    key_id: bytes
    expires_at: datetime
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("ProvenChallenge is made by verify() alone")

    def __reduce__(self) -> Never:
        raise TypeError("ProvenChallenge cannot be pickled")


def verify(
    unverified_proof: UnverifiedProof,
    origin: str,
    pinned: tuple[ec.EllipticCurvePublicKey, ...],
    at: datetime,
) -> ProvenChallenge:
    """Judge a proof for one origin, at one time.

    1. A pinned key has the proof's kid, else ProofForeign(UNKNOWN_KEY).
    2. Its signature over the text for *this* origin verifies, else ProofForeign(BAD_SIGNATURE):
       a relayed genuine challenge of another origin ends here.
    3. The expiry is after ``at``, else ProofStale.
    4. The expiry is not further away than MAX_LIFE, else ProofTooLongLived.

    Time is judged last, so that a forgery is never called merely stale.

    Args:
        unverified_proof: from ``UnverifiedProof.parse``.
        origin: the origin that asks, told by the browser and not by the page.
        pinned: the P-256 keys of that origin (current and next).
        at: now, timezone-aware.

    Raises:
        ProofForeign, ProofStale, ProofTooLongLived, OriginInvalid: as above.
        ValueError: a pinned key is not on P-256, or ``at`` has no timezone.
    """
    if at.tzinfo is None:
        raise ValueError("at must be timezone-aware")
    if any(not isinstance(key.curve, ec.SECP256R1) for key in pinned):
        raise ValueError("challenge proofs are made by P-256 keys")
    candidates = [key for key in pinned if key_id(_spki(key)) == unverified_proof.kid]
    if not candidates:
        raise ProofForeign(ForeignReason.UNKNOWN_KEY)
    text = signed_text(
        origin, unverified_proof.random, unverified_proof.kid, unverified_proof.expiry
    )
    if not any(_signature_verifies(key, unverified_proof.signature, text) for key in candidates):
        raise ProofForeign(ForeignReason.BAD_SIGNATURE)
    expires_at = datetime.fromtimestamp(unverified_proof.expiry, UTC)
    if expires_at <= at:
        raise ProofStale(expires_at, at)
    if expires_at - at > MAX_LIFE:
        raise ProofTooLongLived(expires_at)
    return ProvenChallenge(
        origin=origin,
        nonce=unverified_proof.nonce,
        key_id=unverified_proof.kid,
        expires_at=expires_at,
        seal=_SEAL,
    )


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _signature_verifies(key: ec.EllipticCurvePublicKey, raw: bytes, text: bytes) -> bool:
    """Whether raw r || s is the key's signature; used to pick among keys of one kid."""
    half = SIGNATURE_SIZE // 2
    der = encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    try:
        key.verify(der, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
