"""Each wrong certificate is wrong in its one respect, and right in the others."""

from datetime import timedelta

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from softhsm_config import profiles
from softhsm_config.certificate_plan import sign_plan
from softhsm_config.dev_pki import DevelopmentPki
from softhsm_config.wrong_certificates import Defect, wrong_certificate
from tests.support.card import CITIZEN, NOW, software_pki

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentPki:
    return software_pki(tmp_path_factory.mktemp("pki") / "pki")


def wrong(pki: DevelopmentPki, defect: Defect, ca: str = "citizen-ca") -> bytes:
    return wrong_certificate(
        defect,
        public_key=KEY.public_key(),
        issuer=pki.issuer(ca),
        citizen=CITIZEN,
        urls=pki.urls(ca),
        at=NOW,
    )


def load(pki: DevelopmentPki, defect: Defect) -> x509.Certificate:
    certificate = x509.load_der_x509_certificate(wrong(pki, defect))
    if defect is not Defect.UNTRUSTED_ISSUER:
        certificate.verify_directly_issued_by(pki.citizen_ca)
    return certificate


def test_expired(pki: DevelopmentPki) -> None:
    assert load(pki, Defect.EXPIRED).not_valid_after_utc == NOW - timedelta(days=1)


def test_not_yet_valid(pki: DevelopmentPki) -> None:
    assert load(pki, Defect.NOT_YET_VALID).not_valid_before_utc == NOW + timedelta(days=1)


def test_untrusted_issuer(pki: DevelopmentPki) -> None:
    certificate = load(pki, Defect.UNTRUSTED_ISSUER)
    assert certificate.issuer == pki.citizen_ca.subject
    with pytest.raises((InvalidSignature, ValueError, TypeError)):
        certificate.verify_directly_issued_by(pki.citizen_ca)


def test_wrong_purpose(pki: DevelopmentPki) -> None:
    extensions = load(pki, Defect.WRONG_PURPOSE).extensions
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize(
    ("defect", "absent"),
    [(Defect.NO_KEY_USAGE, x509.KeyUsage), (Defect.NO_POLICY, x509.CertificatePolicies)],
)
def test_missing_extensions(
    pki: DevelopmentPki, defect: Defect, absent: type[x509.ExtensionType]
) -> None:
    with pytest.raises(x509.ExtensionNotFound):
        load(pki, defect).extensions.get_extension_for_class(absent)


def test_certificate_signing(pki: DevelopmentPki) -> None:
    extensions = load(pki, Defect.CERTIFICATE_SIGNING).extensions
    assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_weak_key(pki: DevelopmentPki) -> None:
    public_key = load(pki, Defect.WEAK_KEY).public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    assert public_key.key_size == 1024


def test_disallowed_policy(pki: DevelopmentPki) -> None:
    extensions = load(pki, Defect.DISALLOWED_POLICY).extensions
    (policy,) = extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert policy.policy_identifier.dotted_string == profiles.DISALLOWED_POLICY


def test_explicit_ca_false(pki: DevelopmentPki) -> None:
    certificate = load(pki, Defect.EXPLICIT_CA_FALSE)
    with pytest.raises(ValueError, match="EncodedDefault"):
        _ = certificate.extensions
    parsed = asn1_x509.Certificate.load(wrong(pki, Defect.EXPLICIT_CA_FALSE))
    assert parsed.basic_constraints_value.native == {"ca": False, "path_len_constraint": None}


def test_odd_parameters_of_rsa(pki: DevelopmentPki) -> None:
    parsed = asn1_x509.Certificate.load(wrong(pki, Defect.ODD_PARAMETERS))
    assert isinstance(parsed["signature_algorithm"]["parameters"], core.Void)
    key = pki.citizen_ca.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    signature, signed = parsed.signature, parsed["tbs_certificate"].dump()
    key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())


def test_odd_parameters_of_ecdsa(pki: DevelopmentPki) -> None:
    parsed = asn1_x509.Certificate.load(wrong(pki, Defect.ODD_PARAMETERS, "service-ca"))
    assert parsed["signature_algorithm"]["parameters"].dump() == b"\x05\x00"
    assert parsed["signature_algorithm"].dump() == parsed["tbs_certificate"]["signature"].dump()
    key = pki.service_ca.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(parsed.signature, parsed["tbs_certificate"].dump(), ec.ECDSA(hashes.SHA256()))


def test_every_defect_is_made(pki: DevelopmentPki) -> None:
    right = sign_plan(
        profiles.citizen_authentication(CITIZEN, KEY.public_key(), NOW, pki.urls("citizen-ca")),
        pki.issuer("citizen-ca"),
    )
    right.verify_directly_issued_by(pki.citizen_ca)
    made = {defect: wrong(pki, defect) for defect in Defect}
    assert len(set(made.values())) == len(Defect)
