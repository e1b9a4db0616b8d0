"""What a path library lets pass: one certificate each, made wrong in one field and signed again."""

from dataclasses import replace
from datetime import timedelta

import pytest
from asn1crypto import core, keys
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ocsp.chain import validate_path
from ocsp.config import TrustStore
from ocsp.errors import (
    CertificateExpired,
    CertificateExtensionUnknown,
    CertificateMalformed,
    CertificateNotTrusted,
    CertificatePurposeWrong,
    KeyTooWeak,
    TrustError,
)
from tests.support.certificates import (
    NOW,
    Issued,
    authority_spec,
    development_like_pki,
    edited,
    issue,
    key_usage,
    private_key,
)
from tests.support.trust import citizen_profile, trust_store

PKI = development_like_pki()
STORE = trust_store(PKI)


def store_with(citizen_ca: Issued, root: Issued = PKI.root) -> TrustStore:
    return TrustStore(
        roots=(root.der,),
        intermediates=(PKI.national_ca.der,),
        issuers=(citizen_profile(PKI, certificates=(citizen_ca.der,)),),
    )


def citizen_ca_with(**changes: object) -> Issued:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    return issue(replace(spec, **changes))  # type: ignore[arg-type]  # names and types are CertificateSpec's


def critical(tbs: asn1_x509.TbsCertificate, wanted: str) -> None:
    for extension in tbs["extensions"]:
        if extension["extn_id"].native == wanted:
            extension["critical"] = True


def twice(tbs: asn1_x509.TbsCertificate) -> None:
    tbs["extensions"].append(tbs["extensions"][0].copy())


def numbered(number: int) -> bytes:
    def edit(tbs: asn1_x509.TbsCertificate) -> None:
        tbs["serial_number"] = number

    return edited(PKI.leaf, PKI.citizen_ca, edit)


def with_odd_qualifier() -> bytes:
    """A critical certificatePolicies with a qualifier that nobody knows."""
    policies = asn1_x509.CertificatePolicies(
        [
            {
                "policy_identifier": "2.16.496.1.101.1.2.8",
                "policy_qualifiers": [{"policy_qualifier_id": "1.2.3.4", "qualifier": core.Null()}],
            }
        ]
    )
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.32"), policies.dump())
    return PKI.leaf_with(policies=(), more_extensions=((odd, True),)).der


LEAVES: dict[str, tuple[bytes, type[TrustError]]] = {
    "an extension twice": (edited(PKI.leaf, PKI.citizen_ca, twice), CertificateMalformed),
    "serial number 0": (numbered(0), CertificateMalformed),
    "a negative serial number": (numbered(-5), CertificateMalformed),
    "keyCertSign": (
        PKI.leaf_with(key_usage=key_usage("digital_signature", "key_cert_sign")).der,
        CertificatePurposeWrong,
    ),
    "a critical authority key identifier": (
        edited(PKI.leaf, PKI.citizen_ca, lambda tbs: critical(tbs, "authority_key_identifier")),
        CertificateExtensionUnknown,
    ),
    "an unknown critical policy qualifier": (with_odd_qualifier(), CertificateMalformed),
    "a weak RSA key": (PKI.leaf_with(key=private_key("weak", "rsa1024")).der, KeyTooWeak),
}


@pytest.mark.parametrize(("der", "refusal"), LEAVES.values(), ids=LEAVES)
def test_a_users_certificate_is_refused(der: bytes, refusal: type[TrustError]) -> None:
    with pytest.raises(refusal):
        validate_path(der, STORE, NOW)


def test_an_rsa_key_of_512_bits_is_refused() -> None:
    def edit(tbs: asn1_x509.TbsCertificate) -> None:
        key = keys.RSAPublicKey({"modulus": (1 << 511) + 1, "public_exponent": 65_537})
        info = keys.PublicKeyInfo.wrap(key, "rsa")
        tbs["subject_public_key_info"] = info

    with pytest.raises(KeyTooWeak, match="512"):
        validate_path(edited(PKI.leaf, PKI.citizen_ca, edit), STORE, NOW)


@pytest.mark.parametrize("identifier", ["authority_key_identifier", "key_identifier"])
def test_a_critical_key_identifier_of_an_authority_is_refused(identifier: str) -> None:
    der = edited(PKI.citizen_ca, PKI.national_ca, lambda tbs: critical(tbs, identifier))
    store = store_with(Issued(x509.load_der_x509_certificate(der), PKI.citizen_ca.key))
    with pytest.raises(CertificateMalformed, match="critical"):
        validate_path(PKI.leaf.der, store, NOW)


def test_an_expired_root_is_refused() -> None:
    spec = authority_spec("Test National Root CA", None)
    expired = issue(replace(spec, not_after=NOW - timedelta(days=1)))
    with pytest.raises(CertificateExpired):
        validate_path(PKI.leaf.der, store_with(PKI.citizen_ca, expired), NOW)


def test_an_authority_for_other_purposes_is_refused() -> None:
    citizen_ca = citizen_ca_with(extended_key_usage=(ExtendedKeyUsageOID.SERVER_AUTH,))
    for leaf in (PKI.leaf, PKI.leaf_with(extended_key_usage=())):
        with pytest.raises(CertificatePurposeWrong, match="CA certificate"):
            validate_path(leaf.der, store_with(citizen_ca), NOW)


@pytest.mark.parametrize(
    "purpose", [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]
)
def test_an_authority_for_signing_in_is_accepted(purpose: x509.ObjectIdentifier) -> None:
    citizen_ca = citizen_ca_with(extended_key_usage=(purpose,))
    assert validate_path(PKI.leaf.der, store_with(citizen_ca), NOW).at == NOW


@pytest.mark.parametrize(
    ("name", "excluded", "is_refused"),
    [
        ("*.example.mn", "secret.example.mn", True),
        ("*.example.mn", ".secret.example.mn", True),
        ("*.EXAMPLE.mn", "example.mn", True),
        ("*.example.mn", "other.mn", False),
        ("www.example.mn", "secret.example.mn", False),
    ],
)
def test_a_wildcard_that_may_stand_for_an_excluded_name_is_refused(
    name: str, excluded: str, is_refused: bool
) -> None:
    constraints = x509.NameConstraints(
        permitted_subtrees=None, excluded_subtrees=[x509.DNSName(excluded)]
    )
    store = store_with(citizen_ca_with(more_extensions=((constraints, True),)))
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    leaf = PKI.leaf_with(more_extensions=((names, False),))
    if is_refused:
        with pytest.raises(CertificateNotTrusted):
            validate_path(leaf.der, store, NOW)
    else:
        assert validate_path(leaf.der, store, NOW).at == NOW
