"""The proof inside the nonce: refusals first."""

import base64
import copy
import dataclasses
import pickle
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.agent.challenge_proof import UnverifiedProof
from pkcs11_bridge.agent.errors import (
    ForeignReason,
    OriginInvalid,
    ProofForeign,
    ProofMissing,
    ProofStale,
    ProofTooLongLived,
)

AT = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ORIGIN = "https://tamga.example:8443"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
RANDOM = bytes(range(24))


def kid_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return challenge_proof.key_id(spki)


def nonce_for(
    *,
    origin: str = ORIGIN,
    key: ec.EllipticCurvePrivateKey = KEY,
    kid: bytes | None = None,
    expires_at: datetime = AT + timedelta(minutes=5),
) -> str:
    kid = kid_of(key) if kid is None else kid
    expiry = int(expires_at.timestamp())
    text = challenge_proof.signed_text(origin, RANDOM, kid, expiry)
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return challenge_proof.encode(
        RANDOM, kid, expiry, r.to_bytes(32, "big") + s.to_bytes(32, "big")
    )


def verify(
    nonce: str,
    *,
    origin: str = ORIGIN,
    pinned: tuple[ec.EllipticCurvePublicKey, ...] = (KEY.public_key(),),
    at: datetime = AT,
) -> challenge_proof.ProvenChallenge:
    return challenge_proof.verify(UnverifiedProof.parse(nonce), origin, pinned, at)


@pytest.mark.parametrize(
    "nonce",
    [
        "",
        base64.b64encode(bytes(32)).decode(),
        base64.b64encode(bytes(93)).decode(),
        base64.b64encode(bytes(95)).decode(),
        base64.b64encode(bytes(94)).decode(),
        base64.b64encode(bytes(99)).decode(),
        "-" * 128,
        "ц" * 128,
        "A" * 127 + "\n",
    ],
)
def test_a_nonce_that_is_no_proof(nonce: str) -> None:
    with pytest.raises(ProofMissing):
        UnverifiedProof.parse(nonce)


def test_genuine_challenge_relayed_from_another_origin() -> None:
    with pytest.raises(ProofForeign) as caught:
        verify(nonce_for(origin="https://evil.example"))
    assert caught.value.reason is ForeignReason.BAD_SIGNATURE


def test_key_that_is_not_pinned() -> None:
    with pytest.raises(ProofForeign) as caught:
        verify(nonce_for(key=OTHER_KEY))
    assert caught.value.reason is ForeignReason.UNKNOWN_KEY


def test_nothing_pinned_is_a_refusal() -> None:
    with pytest.raises(ProofForeign):
        verify(nonce_for(), pinned=())


def test_other_key_that_claims_the_pinned_kid() -> None:
    with pytest.raises(ProofForeign) as caught:
        verify(nonce_for(key=OTHER_KEY, kid=kid_of(KEY)))
    assert caught.value.reason is ForeignReason.BAD_SIGNATURE


@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=1), timedelta(days=4000)])
def test_proof_whose_time_is_over(late: timedelta) -> None:
    expires_at = AT + timedelta(minutes=5)
    with pytest.raises(ProofStale) as caught:
        verify(nonce_for(expires_at=expires_at), at=expires_at + late)
    assert caught.value.expired_at == expires_at


def test_proof_that_claims_too_long_a_life() -> None:
    expires_at = AT + challenge_proof.MAX_LIFE + timedelta(seconds=1)
    with pytest.raises(ProofTooLongLived) as caught:
        verify(nonce_for(expires_at=expires_at))
    assert caught.value.expires_at == expires_at


def test_a_stale_forgery_is_called_foreign() -> None:
    with pytest.raises(ProofForeign):
        verify(nonce_for(origin="https://evil.example", expires_at=AT - timedelta(days=1)))


@pytest.mark.parametrize("position", range(96))
def test_any_flipped_byte_is_refused(position: int) -> None:
    raw = bytearray(base64.b64decode(nonce_for()))
    raw[position] ^= 1
    with pytest.raises(ProofForeign):
        verify(base64.b64encode(raw).decode())


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64])
def test_signature_numbers_out_of_range(signature: bytes) -> None:
    nonce = challenge_proof.encode(RANDOM, kid_of(KEY), int(AT.timestamp()) + 60, signature)
    with pytest.raises(ProofForeign):
        verify(nonce)


def test_a_naive_time_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="timezone"):
        verify(nonce_for(), at=datetime(2026, 5, 1, 12, 0))  # noqa: DTZ001 - the very mistake


def test_a_pinned_key_on_another_curve_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="P-256"):
        verify(nonce_for(), pinned=(ec.generate_private_key(ec.SECP384R1()).public_key(),))


@pytest.mark.parametrize("origin", ["", "x" * 256, "https://тамга.mn"])
def test_origin_that_does_not_fit(origin: str) -> None:
    with pytest.raises(OriginInvalid):
        challenge_proof.signed_text(origin, RANDOM, bytes(4), 0)


@pytest.mark.parametrize(
    ("random", "kid", "expiry", "signature"),
    [
        (bytes(23), bytes(4), 0, bytes(64)),
        (bytes(24), bytes(5), 0, bytes(64)),
        (bytes(24), bytes(4), 2**32, bytes(64)),
        (bytes(24), bytes(4), -1, bytes(64)),
        (bytes(24), bytes(4), 0, bytes(63)),
    ],
)
def test_parts_of_the_wrong_size(random: bytes, kid: bytes, expiry: int, signature: bytes) -> None:
    with pytest.raises(ValueError, match="is"):
        challenge_proof.encode(random, kid, expiry, signature)


def test_a_proven_challenge_cannot_be_made_otherwise() -> None:
    proven = verify(nonce_for())
    with pytest.raises(TypeError):
        challenge_proof.ProvenChallenge("https://x", "n", b"", AT)
    with pytest.raises(TypeError):
        dataclasses.replace(proven, origin="https://evil.example")
    with pytest.raises(TypeError):
        pickle.dumps(proven)
    with pytest.raises(TypeError):
        copy.copy(proven)


def test_the_signed_text_to_the_byte() -> None:
    text = challenge_proof.signed_text("https://a.mn", RANDOM, b"\1\2\3\4", 0x01020304)
    assert text == (
        b"tamga/login-challenge/1\x00\x0chttps://a.mn" + RANDOM + b"\1\2\3\4" + b"\1\2\3\4"
    )


def test_genuine_fresh_proof() -> None:
    nonce = nonce_for()
    proven = verify(nonce, pinned=(OTHER_KEY.public_key(), KEY.public_key()))
    assert len(nonce) == 128
    assert (proven.origin, proven.nonce) == (ORIGIN, nonce)
    assert proven.key_id == kid_of(KEY)
    assert proven.expires_at == AT + timedelta(minutes=5)


@given(
    st.binary(min_size=24, max_size=24),
    st.binary(min_size=4, max_size=4),
    st.integers(0, 2**32 - 1),
    st.binary(min_size=64, max_size=64),
)
def test_encoding_and_parsing_are_inverse(
    random: bytes, kid: bytes, expiry: int, signature: bytes
) -> None:
    nonce = challenge_proof.encode(random, kid, expiry, signature)
    parsed = UnverifiedProof.parse(nonce)
    assert parsed == UnverifiedProof(nonce, random, kid, expiry, signature)


@given(st.text(max_size=140))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parsed = UnverifiedProof.parse(text)
    except ProofMissing:
        return
    assert (
        challenge_proof.encode(parsed.random, parsed.kid, parsed.expiry, parsed.signature) == text
    )
