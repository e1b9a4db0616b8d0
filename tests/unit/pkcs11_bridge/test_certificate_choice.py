"""Which certificate a person authenticates with."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from pkcs11_bridge.agent.certificate_choice import AuthenticationCertificate, choose
from pkcs11_bridge.agent.errors import (
    CardSignatureInvalid,
    CertificateAmbiguous,
    CertificateExpired,
    CertificateNotSuitable,
    CertificateNotYetValid,
    SigningCertificateOnly,
)
from pkcs11_bridge.encoding import der_to_raw
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.objects import TokenCertificate
from tests.support.certificates import (
    EXPLICIT_CA_FALSE,
    NOW,
    CertificateSpec,
    development_like_pki,
    distinguished_name,
    issue,
    key_usage,
    private_key,
)

PKI = development_like_pki()
AUTHENTICATION = PKI.leaf_spec
SIGNING = replace(AUTHENTICATION, key_usage=key_usage("content_commitment"), extended_key_usage=())
BOTH_USES = replace(
    AUTHENTICATION,
    key_usage=key_usage("digital_signature", "content_commitment"),
    extended_key_usage=(),
)
NO_EKU = replace(AUTHENTICATION, extended_key_usage=())


def stored(*specs: CertificateSpec) -> tuple[TokenCertificate, ...]:
    return tuple(
        TokenCertificate(0, bytes([number]), f"certificate {number}", issue(spec).der)
        for number, spec in enumerate(specs)
    )


@pytest.mark.parametrize(
    "spec",
    [
        SIGNING,
        replace(AUTHENTICATION, key_usage=None),
        replace(AUTHENTICATION, key_usage=key_usage("key_encipherment")),
        replace(AUTHENTICATION, extended_key_usage=(ExtendedKeyUsageOID.EMAIL_PROTECTION,)),
        replace(AUTHENTICATION, key=private_key("weak", "rsa1024")),
        replace(AUTHENTICATION, key=private_key("large", "p384")),
    ],
)
def test_not_suitable(spec: CertificateSpec) -> None:
    with pytest.raises(CertificateNotSuitable):
        choose(stored(spec), NOW)


@pytest.mark.parametrize("der", [b"", b"\x30\x00", bytes(500)])
def test_what_cannot_be_read_is_not_suitable(der: bytes) -> None:
    with pytest.raises(CertificateNotSuitable):
        choose([TokenCertificate(0, b"", "", der)], NOW)


def test_an_empty_card() -> None:
    with pytest.raises(CertificateNotSuitable):
        choose([], NOW)


def test_two_that_nothing_tells_apart() -> None:
    with pytest.raises(CertificateAmbiguous) as caught:
        choose(stored(AUTHENTICATION, replace(AUTHENTICATION, serial=7)), NOW)
    assert caught.value.count == 2


OLD = replace(AUTHENTICATION, not_after=NOW - timedelta(days=1))


@pytest.mark.parametrize(
    "others", [(SIGNING,), (BOTH_USES,), (NO_EKU,), (OLD,), (SIGNING, BOTH_USES, NO_EKU, OLD)]
)
def test_the_authentication_certificate_among_others(others: tuple[CertificateSpec, ...]) -> None:
    chosen = choose(stored(*others, AUTHENTICATION), NOW)
    assert chosen.stored.id == bytes([len(others)])


def test_without_extended_usage_the_one_that_is_not_for_signing() -> None:
    assert choose(stored(BOTH_USES, NO_EKU), NOW).stored.id == b"\1"


def test_what_is_not_valid_now_is_told_plainly() -> None:
    with pytest.raises(CertificateExpired) as expired:
        choose(stored(OLD, SIGNING), NOW)
    assert expired.value.ended_at == OLD.not_after
    early = replace(AUTHENTICATION, not_before=NOW + timedelta(days=1))
    with pytest.raises(CertificateNotYetValid) as not_yet:
        choose(stored(early), NOW)
    assert not_yet.value.begins_at == early.not_before


def test_a_card_for_signing_only_is_told_plainly() -> None:
    with pytest.raises(SigningCertificateOnly):
        choose(stored(SIGNING), NOW)
    with pytest.raises(CertificateNotSuitable) as caught:
        choose(stored(replace(AUTHENTICATION, key_usage=key_usage("key_encipherment"))), NOW)
    assert not isinstance(caught.value, SigningCertificateOnly)


def test_the_person_chooses_among_those_that_nothing_tells_apart() -> None:
    asked: list[list[str]] = []

    def second(candidates: Sequence[AuthenticationCertificate]) -> AuthenticationCertificate:
        asked.append([candidate.label for candidate in candidates])
        return candidates[1]

    several = stored(AUTHENTICATION, SIGNING, replace(AUTHENTICATION, serial=7), OLD)
    assert choose(several, NOW, second).stored.id == b"\2"
    assert asked == [["certificate 0", "certificate 2"]]
    assert choose(stored(AUTHENTICATION, SIGNING), NOW, second).issuer == "Test Citizen CA"
    assert len(asked) == 1


def test_broken_certificates_do_not_hide_a_good_one() -> None:
    broken = TokenCertificate(0, b"x", "", b"\x30\x00")
    assert choose([broken, *stored(AUTHENTICATION)], NOW).stored.id == b"\0"


def test_explicit_ca_false_is_read() -> None:
    spec = replace(
        AUTHENTICATION, basic_constraints=None, more_extensions=((EXPLICIT_CA_FALSE, True),)
    )
    assert choose(stored(spec), NOW).algorithm == "ES256"


def test_the_holder_s_name_cannot_rewrite_a_terminal() -> None:
    evil = replace(AUTHENTICATION, subject=distinguished_name("Бат\x1b[2J\nOK"))
    assert choose(stored(evil), NOW).holder == "Бат?[2J?OK"
    nameless = replace(AUTHENTICATION, subject=x509.Name([]))
    assert choose(stored(nameless), NOW).holder == ""


def test_signatures_are_checked_with_the_certificate() -> None:
    ec_key, rsa_key = private_key("ec"), private_key("rsa", "rsa2048")
    assert isinstance(ec_key, ec.EllipticCurvePrivateKey)
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    by_ec = choose(stored(replace(AUTHENTICATION, key=ec_key)), NOW)
    by_rsa = choose(stored(replace(AUTHENTICATION, key=rsa_key)), NOW)
    assert (by_ec.algorithm, by_ec.key_algorithm) == ("ES256", KeyAlgorithm.EC_P256)
    assert (by_rsa.algorithm, by_rsa.key_algorithm) == ("RS256", KeyAlgorithm.RSA_2048)
    ec_signature = der_to_raw(ec_key.sign(b"text", ec.ECDSA(hashes.SHA256())), 32)
    rsa_signature = rsa_key.sign(b"text", padding.PKCS1v15(), hashes.SHA256())
    for chosen, signature in ((by_ec, ec_signature), (by_rsa, rsa_signature)):
        for wrong in (signature[:-1] + bytes([signature[-1] ^ 1]), bytes(len(signature))):
            with pytest.raises(CardSignatureInvalid):
                chosen.require_signature(wrong, b"text")
        with pytest.raises(CardSignatureInvalid):
            chosen.require_signature(signature, b"another text")
        chosen.require_signature(signature, b"text")
