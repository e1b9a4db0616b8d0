"""Who may not sign an answer, then who may."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ocsp.errors import (
    ResponderExpired,
    ResponderNotAuthorised,
)
from ocsp.responder_authority import MAX_CERTIFICATES, ResponderId, read_candidate
from ocsp.status import Good
from tests.support.certificates import (
    EXPLICIT_CA_FALSE,
    NOW,
    Issued,
    authority_spec,
    delegate_spec,
    issue,
    key_usage,
    private_key,
)
from tests.support.ocsp_judging import (
    PKI,
    SPEC,
    judge,
    signed_by,
)
from tests.support.trust import citizen_profile


def test_an_answer_of_a_stranger_is_refused() -> None:
    stranger = issue(authority_spec("Stranger CA", None))
    with pytest.raises(ResponderNotAuthorised):
        judge(signed_by(issue(delegate_spec(stranger))))


def test_an_answer_of_another_authority_of_the_same_store_is_refused() -> None:
    with pytest.raises(ResponderNotAuthorised, match="not issued by this CA"):
        judge(signed_by(issue(delegate_spec(PKI.national_ca))))


def test_an_answer_signed_by_a_superior_authority_is_refused() -> None:
    with pytest.raises(ResponderNotAuthorised, match="CA certificate"):
        judge(signed_by(PKI.national_ca))


def test_an_answer_of_an_impostor_with_the_authoritys_name_is_refused() -> None:
    spec = replace(authority_spec("Test Citizen CA", None), key=private_key("impostor"))
    impostor = issue(spec)
    with pytest.raises(ResponderNotAuthorised):
        judge(signed_by(issue(delegate_spec(impostor)), impostor))


def test_a_responder_that_is_not_in_the_answer_is_refused() -> None:
    with pytest.raises(ResponderNotAuthorised, match="no certificate"):
        judge(replace(SPEC, certificates=()))


def test_too_many_certificates_are_refused() -> None:
    with pytest.raises(ResponderNotAuthorised, match="more than"):
        judge(replace(SPEC, certificates=(PKI.delegate,) * (MAX_CERTIFICATES + 1)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"basic_constraints": x509.BasicConstraints(ca=True, path_length=0)}, "CA certificate"),
        ({"key_usage": key_usage("digital_signature", "key_cert_sign")}, "CA certificate"),
        ({"key_usage": key_usage("digital_signature", "crl_sign")}, "CA certificate"),
        ({"extended_key_usage": ()}, "no ExtendedKeyUsage"),
        ({"extended_key_usage": (ExtendedKeyUsageOID.CLIENT_AUTH,)}, "id-kp-OCSPSigning"),
        (
            {"extended_key_usage": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)},
            "id-kp-OCSPSigning",
        ),
        ({"key_usage": key_usage("content_commitment")}, "digitalSignature"),
        ({"ocsp_no_check": False}, "nocheck"),
        ({"key": private_key("weak", "rsa1024")}, "1024"),
        (
            {
                "more_extensions": (
                    (
                        x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
                        True,
                    ),
                )
            },
            "1.2.3.4",
        ),
    ],
)
def test_a_delegate_that_may_not_speak_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ResponderNotAuthorised, match=reason):
        judge(signed_by(PKI.delegate_with(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"not_after": NOW - timedelta(seconds=1)},
        {"not_before": NOW + timedelta(seconds=1)},
    ],
)
def test_a_delegate_out_of_date_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ResponderExpired):
        judge(signed_by(PKI.delegate_with(**changes)))


def test_a_delegate_signed_by_a_refused_hash_is_refused() -> None:
    profile = citizen_profile(PKI, answer_hashes=frozenset({"sha384"}))
    with pytest.raises(ResponderNotAuthorised, match="algorithm"):
        judge(SPEC, profile=profile)


def test_a_malformed_certificate_in_the_answer_is_not_the_responder() -> None:
    bad = x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff")
    odd = PKI.delegate_with(key_usage=None, more_extensions=((bad, True),))
    with pytest.raises(ResponderNotAuthorised, match="refused"):
        judge(signed_by(odd))


def test_a_responder_id_names_a_key_or_a_subject() -> None:
    candidate = read_candidate(PKI.delegate.certificate)
    assert not ResponderId(b"\x00" * 20, None).names(candidate)
    assert not ResponderId(None, None).names(candidate)
    assert ResponderId(None, PKI.delegate.certificate.subject).names(candidate)


@pytest.mark.parametrize("by_key", [True, False])
@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_delegates_are_understood_by_key_and_by_name(kind: str, by_key: bool) -> None:
    delegate = PKI.delegate_with(key=private_key(f"delegate {kind}", kind))
    spec = replace(signed_by(delegate), by_key=by_key)
    assert isinstance(judge(spec), Good)


def test_a_delegate_with_an_explicit_default_is_accepted() -> None:
    delegate = PKI.delegate_with(
        basic_constraints=None, key_usage=None, more_extensions=((EXPLICIT_CA_FALSE, True),)
    )
    assert isinstance(judge(signed_by(delegate)), Good)


def test_the_delegate_is_found_among_others() -> None:
    spec = replace(SPEC, certificates=(PKI.national_ca, PKI.leaf, PKI.delegate))
    assert isinstance(judge(spec), Good)


@pytest.mark.parametrize("certificates", [(), (PKI.citizen_ca,)])
def test_the_issuer_may_answer_itself(certificates: tuple[Issued, ...]) -> None:
    spec = replace(SPEC, signer=PKI.citizen_ca, certificates=certificates)
    status = judge(spec)
    assert isinstance(status, Good)
    assert status.evidence.responder_name.startswith("CN=Test Citizen CA")
