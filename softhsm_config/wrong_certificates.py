"""Certificates with exactly one thing wrong, for tests of those who must refuse them.

Each is a citizen's authentication certificate, right in every other respect and signed by the
issuer that it names (but for the one whose issuer is the wrong thing).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import Enum

from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from softhsm_config import profiles
from softhsm_config.certificate_plan import (
    CertificatePlan,
    Issuer,
    SigningKey,
    SubjectKey,
    der,
    sign_plan,
)
from softhsm_config.profiles import Citizen, StatusUrls

EXPLICIT_CA_FALSE = bytes.fromhex("3003010100")
_DAY = timedelta(days=1)


class Defect(Enum):
    """The one thing that is wrong."""

    EXPIRED = "ended yesterday"
    NOT_YET_VALID = "begins tomorrow"
    UNTRUSTED_ISSUER = "signed by a stranger under the CA's name"
    WRONG_PURPOSE = "serverAuth instead of clientAuth"
    NO_KEY_USAGE = "no KeyUsage extension"
    CERTIFICATE_SIGNING = "KeyUsage with keyCertSign"
    WEAK_KEY = "RSA key of 1024 bits"
    NO_POLICY = "no CertificatePolicies extension"
    DISALLOWED_POLICY = "a policy that issuer profiles refuse"
    EXPLICIT_CA_FALSE = "BasicConstraints with its default written out (against DER)"
    ODD_PARAMETERS = "signature algorithm with NULL (ECDSA) or without it (RSA)"


def wrong_certificate(
    defect: Defect,
    *,
    public_key: SubjectKey,
    issuer: Issuer,
    citizen: Citizen,
    urls: StatusUrls,
    at: datetime,
) -> bytes:
    """Return the DER of a certificate with one defect.

    Args:
        defect: What is wrong.
        public_key: Subject's key; a weak one is made instead for `WEAK_KEY`.
        issuer: The CA; software keys and token keys alike.
        citizen: Subject.
        urls: Status service of the CA.
        at: The time at which the certificate is to be wrong.
    """
    plan = profiles.citizen_authentication(citizen, public_key, at, urls)
    if defect is Defect.UNTRUSTED_ISSUER:
        return der(sign_plan(plan, replace(issuer, key=_stranger())))
    if defect is Defect.ODD_PARAMETERS:
        return _with_odd_parameters(der(sign_plan(plan, issuer)), issuer.key)
    return der(sign_plan(_CHANGES[defect](plan, at), issuer))


def _expired(plan: CertificatePlan, at: datetime) -> CertificatePlan:
    return replace(plan, not_before=at - 30 * _DAY, not_after=at - _DAY)


def _not_yet_valid(plan: CertificatePlan, at: datetime) -> CertificatePlan:
    return replace(plan, not_before=at + _DAY)


def _wrong_purpose(plan: CertificatePlan, _: datetime) -> CertificatePlan:
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return plan.with_extension(purpose, critical=False)


def _no_key_usage(plan: CertificatePlan, _: datetime) -> CertificatePlan:
    return plan.without(x509.KeyUsage)


def _certificate_signing(plan: CertificatePlan, _: datetime) -> CertificatePlan:
    usage = profiles.key_usage("digital_signature", "key_cert_sign")
    return plan.with_extension(usage, critical=True)


def _weak_key(plan: CertificatePlan, _: datetime) -> CertificatePlan:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - the defect
    return replace(plan, public_key=weak.public_key())


def _no_policy(plan: CertificatePlan, _: datetime) -> CertificatePlan:
    return plan.without(x509.CertificatePolicies)


def _disallowed_policy(plan: CertificatePlan, _: datetime) -> CertificatePlan:
    policy = x509.PolicyInformation(x509.ObjectIdentifier(profiles.DISALLOWED_POLICY), None)
    return plan.with_extension(x509.CertificatePolicies([policy]), critical=False)


def _explicit_ca_false(plan: CertificatePlan, _: datetime) -> CertificatePlan:
    odd = x509.UnrecognizedExtension(ExtensionOID.BASIC_CONSTRAINTS, EXPLICIT_CA_FALSE)
    return plan.without(x509.BasicConstraints).with_extension(odd, critical=True)


_CHANGES: Mapping[Defect, Callable[[CertificatePlan, datetime], CertificatePlan]] = {
    Defect.EXPIRED: _expired,
    Defect.NOT_YET_VALID: _not_yet_valid,
    Defect.WRONG_PURPOSE: _wrong_purpose,
    Defect.NO_KEY_USAGE: _no_key_usage,
    Defect.CERTIFICATE_SIGNING: _certificate_signing,
    Defect.WEAK_KEY: _weak_key,
    Defect.NO_POLICY: _no_policy,
    Defect.DISALLOWED_POLICY: _disallowed_policy,
    Defect.EXPLICIT_CA_FALSE: _explicit_ca_false,
}


def _stranger() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _with_odd_parameters(certificate_der: bytes, key: SigningKey) -> bytes:
    """Swap the algorithm parameters that RFC 5758 (absent) and RFC 4055 (NULL) ask for."""
    certificate = asn1_x509.Certificate.load(certificate_der)
    tbs = certificate["tbs_certificate"]
    algorithms = (tbs["signature"], certificate["signature_algorithm"])
    if isinstance(key, ec.EllipticCurvePrivateKey):
        for algorithm in algorithms:
            algorithm["parameters"] = core.Null()
        signature = key.sign(tbs.dump(force=True), ec.ECDSA(hashes.SHA256()))
    else:
        for algorithm in algorithms:
            del algorithm["parameters"]
        signature = key.sign(tbs.dump(force=True), padding.PKCS1v15(), hashes.SHA256())
    certificate["signature_value"] = signature
    encoded: bytes = certificate.dump(force=True)
    return encoded
