"""Permits meet real keys: what is signed, what is refused, what never leaves."""

import pickle
from datetime import UTC, datetime
from typing import cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.ocsp import load_der_ocsp_response

from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.keyring import KeyAlgorithm, TokenKey, generate_key
from pkcs11_bridge.session import TokenSessions
from signer.backend import Signature
from signer.errors import (
    NoKeyForPurpose,
    OwnSignatureInvalid,
    PermitAlreadySpent,
    SignatureInvalid,
)
from signer.hsm_backend import HsmBackend
from signer.payload import (
    Payload,
    Purpose,
    checkpoint_payload,
    login_challenge_payload,
    ocsp_response_payload,
)
from signer.verify import raw_to_der, verify_raw
from tests.support.certificates import development_like_pki
from tests.support.ledger import MemoryLedger, permit_of
from tests.support.ocsp_answers import answer, standard_spec
from tests.support.ocsp_questions import question

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ORIGIN = "receipts.example/e1"
CHECKPOINT = b"receipts.example/e1\n3\nAAAA\n"


def challenge() -> Payload:
    return login_challenge_payload(
        challenge_proof.signed_text("https://login.example", bytes(24), bytes(4), 1_800_000_000)
    )


def test_each_purpose_is_signed_by_its_own_key_in_the_token(token: TokenConfig) -> None:
    ledger = MemoryLedger()
    with TokenSessions(token) as sessions:
        keys = {
            Purpose.RECEIPT_LOG: generate_key(sessions, "receipt-log", KeyAlgorithm.EC_P256),
            Purpose.RECEIPT_LOG_ED25519: generate_key(
                sessions, "receipt-log-ed25519", KeyAlgorithm.ED25519
            ),
        }
        backend = HsmBackend(keys)
        for purpose, kind in (
            (Purpose.RECEIPT_LOG, ec.EllipticCurvePublicKey),
            (Purpose.RECEIPT_LOG_ED25519, ed25519.Ed25519PublicKey),
        ):
            payload = checkpoint_payload(purpose, ORIGIN, CHECKPOINT)
            permit = permit_of(payload, ledger, owner="e1", at=NOW)
            signature = backend.sign(permit, payload, at=NOW)
            public_key = backend.public_key(purpose)
            assert isinstance(public_key, kind)
            verify_raw(public_key, CHECKPOINT, signature.raw)
            with pytest.raises(SignatureInvalid):
                verify_raw(public_key, CHECKPOINT + b"x", signature.raw)
    assert len(ledger.recorded) == len(ledger.spent) == 2
    assert {record.owner for record in ledger.recorded.values()} == {"e1"}


def test_a_purpose_without_a_key_here_spends_no_permit(token: TokenConfig) -> None:
    ledger = MemoryLedger()
    with TokenSessions(token) as sessions:
        key = generate_key(sessions, "receipt-log", KeyAlgorithm.EC_P256)
        backend = HsmBackend({Purpose.RECEIPT_LOG: key})
        with pytest.raises(NoKeyForPurpose):
            backend.sign(permit_of(challenge(), ledger, at=NOW), challenge(), at=NOW)
        with pytest.raises(NoKeyForPurpose):
            backend.public_key(Purpose.OCSP_CITIZEN_CA)
    assert not ledger.spent


def test_a_permit_signs_once(token: TokenConfig) -> None:
    ledger = MemoryLedger()
    with TokenSessions(token) as sessions:
        key = generate_key(sessions, "login-challenge", KeyAlgorithm.EC_P256)
        backend = HsmBackend({Purpose.LOGIN_CHALLENGE: key})
        permit = permit_of(challenge(), ledger, at=NOW)
        backend.sign(permit, challenge(), at=NOW)
        with pytest.raises(PermitAlreadySpent):
            backend.sign(permit, challenge(), at=NOW)


def test_a_key_of_a_kind_that_serves_no_purpose_is_refused(token: TokenConfig) -> None:
    with TokenSessions(token) as sessions:
        key = generate_key(sessions, "receipt-log", KeyAlgorithm.RSA_2048)
        key.sign_digest(bytes(32), "sha256")
        with pytest.raises(NoKeyForPurpose):
            HsmBackend({Purpose.RECEIPT_LOG: key})


def test_an_rsa_key_answers_about_certificates(token: TokenConfig) -> None:
    ledger = MemoryLedger()
    pki = development_like_pki()
    data = load_der_ocsp_response(
        answer(standard_spec(pki, question(pki.citizen_ca.certificate, 1)))
    ).tbs_response_bytes
    payload = ocsp_response_payload(Purpose.OCSP_CITIZEN_CA, data)
    with TokenSessions(token) as sessions:
        key = generate_key(sessions, Purpose.OCSP_CITIZEN_CA, KeyAlgorithm.RSA_2048)
        backend = HsmBackend({Purpose.OCSP_CITIZEN_CA: key})
        signature = backend.sign(permit_of(payload, ledger, at=NOW), payload, at=NOW)
        public_key = backend.public_key(Purpose.OCSP_CITIZEN_CA)
    assert isinstance(public_key, rsa.RSAPublicKey)
    public_key.verify(signature.raw, data, padding.PKCS1v15(), hashes.SHA256())
    for wrong in (data + b"x", b""):
        with pytest.raises(SignatureInvalid):
            verify_raw(public_key, wrong, signature.raw)


class _Faulty:
    """A token key whose answers are those of another key: what a bad token could do."""

    algorithm = KeyAlgorithm.EC_P256

    def __init__(self, answer: bytes) -> None:
        self.public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
        self._answer = answer

    def sign_digest(self, digest: bytes, hash_name: HashName) -> bytes:
        return self._answer


@pytest.mark.parametrize("answer", [b"", bytes(64), b"\x01" * 64, b"\x01" * 72])
def test_a_wrong_signature_of_the_token_never_leaves(answer: bytes) -> None:
    ledger = MemoryLedger()
    keys = {Purpose.LOGIN_CHALLENGE: cast("TokenKey", _Faulty(answer))}
    permit = permit_of(challenge(), ledger, at=NOW)
    with pytest.raises(OwnSignatureInvalid):
        HsmBackend(keys).sign(permit, challenge(), at=NOW)
    assert len(ledger.spent) == 1


def test_der_of_a_raw_signature() -> None:
    raw = b"\x00" * 31 + b"\x01" + b"\x00" * 31 + b"\x02"
    assert raw_to_der(raw) == bytes.fromhex("3006020101020102")


def test_a_signature_is_made_by_its_verification_alone(token: TokenConfig) -> None:
    ledger = MemoryLedger()
    with TokenSessions(token) as sessions:
        key = generate_key(sessions, "login-challenge", KeyAlgorithm.EC_P256)
        backend = HsmBackend({Purpose.LOGIN_CHALLENGE: key})
        signature = backend.sign(permit_of(challenge(), ledger, at=NOW), challenge(), at=NOW)
    with pytest.raises(TypeError):
        Signature(signature.purpose, signature.raw)
    with pytest.raises(TypeError):
        pickle.dumps(signature)
