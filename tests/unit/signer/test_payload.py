"""Each purpose's key signs its own kind of text and no other."""

import pickle
from dataclasses import replace
from datetime import timedelta

import pytest
from asn1crypto import core
from asn1crypto import crl as asn1_crl
from asn1crypto import csr as asn1_csr
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp

from pkcs11_bridge.agent import challenge_proof
from signer.errors import PayloadRefused
from signer.payload import (
    CERTIFIED_PURPOSES,
    Payload,
    Purpose,
    audit_checkpoint_payload,
    certification_request_payload,
    checkpoint_payload,
    crl_payload,
    login_challenge_payload,
    ocsp_response_payload,
)
from tests.support.certificates import (
    NOW,
    development_like_pki,
    distinguished_name,
    private_key,
)
from tests.support.ocsp_answers import answer, standard_spec

CHALLENGE = challenge_proof.signed_text("https://login.example", bytes(24), bytes(4), 1_800_000_000)
ORIGIN = "receipts.example/e1"
CHECKPOINT = b"receipts.example/e1\n3\nAAAA\n"


def test_a_login_challenge_without_its_label_is_refused() -> None:
    with pytest.raises(PayloadRefused):
        login_challenge_payload(b"x" + CHALLENGE)


def test_a_checkpoint_is_never_taken_for_a_login_challenge() -> None:
    with pytest.raises(PayloadRefused):
        login_challenge_payload(CHECKPOINT)


@pytest.mark.parametrize(
    "text",
    [
        CHALLENGE,
        b"receipts.example/e2\n3\nAAAA\n",
        b"receipts.example/e1 \n3\nAAAA\n",
        b"receipts.example/e1\n3\nAAAA",
        b"receipts.example/e1\n3\nAAAA\nextension\n",
        b"receipts.example/e1\n3\n",
        b"receipts.example/e1\n3\n" + b"A" * 1024 + b"\n",
    ],
)
def test_a_text_that_is_no_checkpoint_of_the_log_is_refused(text: bytes) -> None:
    with pytest.raises(PayloadRefused):
        checkpoint_payload(Purpose.RECEIPT_LOG, ORIGIN, text)


def test_a_checkpoint_is_not_signed_by_another_purposes_key() -> None:
    with pytest.raises(PayloadRefused):
        checkpoint_payload(Purpose.LOGIN_CHALLENGE, ORIGIN, CHECKPOINT)


AUDIT_ORIGIN = "audit.login.example/pki"
AUDIT_CHECKPOINT = b"audit.login.example/pki\n3\nAAAA\n"


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.AUDIT])
def test_an_audit_log_is_signed_by_the_audit_key_alone(purpose: Purpose) -> None:
    with pytest.raises(PayloadRefused, match="purpose"):
        audit_checkpoint_payload(purpose, AUDIT_ORIGIN, AUDIT_CHECKPOINT)
    with pytest.raises(PayloadRefused):
        checkpoint_payload(purpose, AUDIT_ORIGIN, AUDIT_CHECKPOINT)


def test_the_audit_key_signs_audit_logs_alone() -> None:
    with pytest.raises(PayloadRefused, match="audit logs alone"):
        audit_checkpoint_payload(Purpose.AUDIT, ORIGIN, CHECKPOINT)
    with pytest.raises(PayloadRefused, match="purpose"):
        checkpoint_payload(Purpose.AUDIT, ORIGIN, CHECKPOINT)
    with pytest.raises(PayloadRefused, match="origin line"):
        audit_checkpoint_payload(Purpose.AUDIT, AUDIT_ORIGIN, CHECKPOINT)
    payload = audit_checkpoint_payload(Purpose.AUDIT, AUDIT_ORIGIN, AUDIT_CHECKPOINT)
    assert (payload.purpose, payload.message) == (Purpose.AUDIT, AUDIT_CHECKPOINT)


@pytest.mark.parametrize("data", [b"", CHECKPOINT, CHALLENGE, b"\x30\x00", b"\x30\x03\x02\x01\x01"])
def test_bytes_that_are_no_ocsp_answer_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadRefused):
        ocsp_response_payload(Purpose.OCSP_CITIZEN_CA, data)


def test_an_ocsp_answer_of_unbounded_size_or_of_a_log_key_is_refused() -> None:
    with pytest.raises(PayloadRefused, match="too large"):
        ocsp_response_payload(Purpose.OCSP_CITIZEN_CA, bytes(16_385))
    with pytest.raises(PayloadRefused, match="purpose"):
        ocsp_response_payload(Purpose.RECEIPT_LOG, b"\x30\x00")


def test_accepted_texts_keep_purpose_and_bytes() -> None:
    challenge = login_challenge_payload(CHALLENGE)
    checkpoint = checkpoint_payload(Purpose.RECEIPT_LOG_ED25519, ORIGIN, CHECKPOINT)
    assert (challenge.purpose, challenge.message) == (Purpose.LOGIN_CHALLENGE, CHALLENGE)
    assert (checkpoint.purpose, checkpoint.message) == (Purpose.RECEIPT_LOG_ED25519, CHECKPOINT)
    assert len(challenge.digest) == 32


def test_a_payload_is_made_nowhere_else() -> None:
    payload = login_challenge_payload(CHALLENGE)
    with pytest.raises(TypeError):
        Payload(Purpose.RECEIPT_LOG, b"anything")
    with pytest.raises((TypeError, ValueError)):
        replace(payload)
    with pytest.raises(TypeError):
        pickle.dumps(payload)


def test_an_answer_about_a_certificate_is_accepted() -> None:
    pki = development_like_pki()
    builder = x509_ocsp.OCSPRequestBuilder()
    request = builder.add_certificate(
        pki.leaf.certificate, pki.citizen_ca.certificate, hashes.SHA256()
    ).build()
    der = answer(standard_spec(pki, request.public_bytes(Encoding.DER)))
    data = x509_ocsp.load_der_ocsp_response(der).tbs_response_bytes
    payload = ocsp_response_payload(Purpose.OCSP_CITIZEN_CA, data)
    assert (payload.purpose, payload.message) == (Purpose.OCSP_CITIZEN_CA, data)


def test_an_answer_about_nothing_is_refused() -> None:
    empty = asn1_ocsp.ResponseData(
        {
            "responder_id": asn1_ocsp.ResponderId("by_key", core.OctetString(bytes(20))),
            "produced_at": NOW,
            "responses": [],
        }
    )
    with pytest.raises(PayloadRefused, match="says nothing"):
        ocsp_response_payload(Purpose.OCSP_CITIZEN_CA, empty.dump())


KEY = ec.generate_private_key(ec.SECP256R1())
OCSP = Purpose.OCSP_CITIZEN_CA


def request_info(name: x509.Name | None = None, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    subject = distinguished_name("OCSP") if name is None else name
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, hashes.SHA256()).tbs_certrequest_bytes


@pytest.mark.parametrize("purpose", [p for p in Purpose if p not in CERTIFIED_PURPOSES])
def test_a_key_without_certificates_signs_no_request(purpose: Purpose) -> None:
    with pytest.raises(PayloadRefused, match="no certificate"):
        certification_request_payload(purpose, KEY.public_key(), request_info())


def test_a_request_for_another_keys_certificate_is_refused() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(PayloadRefused, match="another key"):
        certification_request_payload(OCSP, KEY.public_key(), request_info(key=other))


def test_a_request_that_names_nobody_or_of_another_version_is_refused() -> None:
    with pytest.raises(PayloadRefused, match="names somebody"):
        certification_request_payload(OCSP, KEY.public_key(), request_info(x509.Name([])))
    changed = asn1_csr.CertificationRequestInfo.load(request_info())
    changed["version"] = 1
    with pytest.raises(PayloadRefused):
        certification_request_payload(OCSP, KEY.public_key(), changed.dump(force=True))


@pytest.mark.parametrize("data", [b"", CHECKPOINT, CHALLENGE, b"\x30\x00", request_info() + b"x"])
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadRefused):
        certification_request_payload(OCSP, KEY.public_key(), data)
    with pytest.raises(PayloadRefused, match="too large"):
        certification_request_payload(OCSP, KEY.public_key(), request_info() + bytes(4096))


def test_a_request_and_an_ocsp_answer_are_never_taken_for_each_other() -> None:
    info = request_info()
    assert certification_request_payload(OCSP, KEY.public_key(), info).message == info
    with pytest.raises(PayloadRefused):
        ocsp_response_payload(OCSP, info)
    pki = development_like_pki()
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(
        pki.leaf.certificate, pki.citizen_ca.certificate, hashes.SHA256()
    )
    der = answer(standard_spec(pki, builder.build().public_bytes(Encoding.DER)))
    data = x509_ocsp.load_der_ocsp_response(der).tbs_response_bytes
    with pytest.raises(PayloadRefused):
        certification_request_payload(OCSP, KEY.public_key(), data)


def _list_of_revoked() -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(x509.Name([]))
    crl = builder.last_update(NOW).next_update(NOW + timedelta(days=1))
    return crl.sign(private_key("lists"), hashes.SHA256()).tbs_certlist_bytes


@pytest.mark.parametrize("data", [b"", CHECKPOINT, CHALLENGE, b"\x30\x00", b"\x30\x03\x02\x01\x01"])
def test_bytes_that_are_no_revocation_list_are_refused(data: bytes) -> None:
    with pytest.raises(PayloadRefused):
        crl_payload(Purpose.CRL_CITIZEN_CA, data)
    with pytest.raises(PayloadRefused):
        crl_payload(Purpose.CRL_CITIZEN_CA, _list_of_revoked() + b"\x00")


def test_a_revocation_list_without_an_end_or_of_version_1_is_refused() -> None:
    endless = asn1_crl.TbsCertList.load(_list_of_revoked())
    del endless["next_update"]
    with pytest.raises(PayloadRefused, match="nextUpdate"):
        crl_payload(Purpose.CRL_CITIZEN_CA, endless.dump(force=True))
    first = asn1_crl.TbsCertList.load(_list_of_revoked())
    first["version"] = "v1"
    with pytest.raises(PayloadRefused, match="version"):
        crl_payload(Purpose.CRL_CITIZEN_CA, first.dump(force=True))


def test_a_revocation_list_is_signed_by_its_own_key_alone() -> None:
    data = _list_of_revoked()
    with pytest.raises(PayloadRefused, match="purpose"):
        crl_payload(Purpose.OCSP_CITIZEN_CA, data)
    with pytest.raises(PayloadRefused):
        ocsp_response_payload(Purpose.OCSP_CITIZEN_CA, data)
    with pytest.raises(PayloadRefused, match="too large"):
        crl_payload(Purpose.CRL_CITIZEN_CA, bytes(16_777_217))
    payload = crl_payload(Purpose.CRL_CITIZEN_CA, data)
    assert (payload.purpose, payload.message) == (Purpose.CRL_CITIZEN_CA, data)
