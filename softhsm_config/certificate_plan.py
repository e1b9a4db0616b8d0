"""A certificate as a value to be changed and signed (RFC 5280). Pure but for the serial number."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
SubjectKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA that can sign: its name in `issued.json`, its certificate, its key object."""

    name: str
    certificate: x509.Certificate
    key: SigningKey


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """Everything in a certificate but its issuer, serial number and signature.

    Attributes:
        subject: Distinguished name.
        public_key: Subject's key.
        not_before: First second of validity, UTC.
        not_after: Last second of validity, UTC.
        extensions: Extension values, each with its critical bit, in order.
    """

    subject: x509.Name
    public_key: SubjectKey
    not_before: datetime
    not_after: datetime
    extensions: tuple[tuple[x509.ExtensionType, bool], ...]

    def without(self, kind: type[x509.ExtensionType]) -> Self:
        """Return the plan without the extension of a type."""
        kept = tuple(pair for pair in self.extensions if not isinstance(pair[0], kind))
        return replace(self, extensions=kept)

    def with_extension(self, extension: x509.ExtensionType, *, critical: bool) -> Self:
        """Return the plan with an extension in place of one of the same type."""
        stripped = self.without(type(extension))
        return replace(stripped, extensions=(*stripped.extensions, (extension, critical)))


def sign_plan(plan: CertificatePlan, issuer: Issuer) -> x509.Certificate:
    """Sign a plan with SHA-256, with key identifiers of subject and issuer added."""
    issuer_identifier = issuer.certificate.extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier
    ).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_identifier)
    builder = _builder(plan, issuer.certificate.subject).add_extension(authority, critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def self_sign_plan(plan: CertificatePlan, key: SigningKey) -> x509.Certificate:
    """Sign a root's plan by the root's own key."""
    return _builder(plan, plan.subject).sign(key, hashes.SHA256())


def _builder(plan: CertificatePlan, issuer_name: x509.Name) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(plan.subject)
        .issuer_name(issuer_name)
        .public_key(plan.public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(plan.not_before)
        .not_valid_after(plan.not_after)
    )
    for extension, critical in plan.extensions:
        builder = builder.add_extension(extension, critical=critical)
    identifier = x509.SubjectKeyIdentifier.from_public_key(plan.public_key)
    return builder.add_extension(identifier, critical=False)


def carries_plan(certificate: x509.Certificate, plan: CertificatePlan) -> bool:
    """Tell whether a certificate has a plan's subject, key and extensions; dates aside."""
    present = {extension.oid: extension.value for extension in certificate.extensions}
    return (
        certificate.subject == plan.subject
        and certificate.public_key() == plan.public_key
        and all(present.get(extension.oid) == extension for extension, _ in plan.extensions)
    )


def der(certificate: x509.Certificate) -> bytes:
    """Return a certificate's DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def half_spent(certificate: x509.Certificate, at: datetime) -> bool:
    """Tell whether less than half of a certificate's validity is left: time to renew it."""
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return at.astimezone(UTC) > start + (end - start) / 2
