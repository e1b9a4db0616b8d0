"""From the settings' paths and texts to the checked values of `ocsp`."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.config import CertIdHash, IssuerProfile, NonceMode, PersonAttribute, TrustStore
from ocsp.transport import Destination, Egress
from ocsp.trust import PURPOSE
from webapi.settings_model import Settings
from webapi.settings_trust import IssuerSettings

# How subject attributes are called in the settings file (RFC 4519 names).
_ATTRIBUTE_OIDS = {"serialNumber": "2.5.4.5", "uid": "0.9.2342.19200300.100.1.1"}


class CertificateFileWrong(Exception):
    """A certificate file of the settings holds no certificate."""


def read_certificate_file(path: Path) -> x509.Certificate:
    """One certificate, PEM or DER.

    Raises:
        CertificateFileWrong: it cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except (OSError, ValueError) as error:
        raise CertificateFileWrong(f"{path} holds no certificate") from error


def _der(path: Path) -> bytes:
    return read_certificate_file(path).public_bytes(Encoding.DER)


def _profile(issuer: IssuerSettings) -> IssuerProfile:
    oid = _ATTRIBUTE_OIDS.get(issuer.person_attribute, issuer.person_attribute)
    return IssuerProfile(
        name=issuer.name,
        certificates=tuple(_der(path) for path in issuer.certificates),
        responder_url=issuer.responder_url,
        required_policies=frozenset(issuer.required_policies),
        disallowed_policies=frozenset(issuer.disallowed_policies),
        person_attribute=PersonAttribute(oid, issuer.person_pattern),
        certid_hash=CertIdHash(issuer.certid_hash),
        nonce=NonceMode(issuer.nonce),
        skew=issuer.skew,
        max_age=issuer.max_age,
        min_rsa_bits=issuer.min_rsa_bits,
        allowed_curves=frozenset(issuer.allowed_curves),
    )


def trust_store_of(settings: Settings) -> TrustStore:
    """Roots, intermediates and issuer profiles.

    Raises:
        CertificateFileWrong: a file holds no certificate.
        ocsp.errors.ConfigurationInvalid: the certificates and rules make no sense together.
    """
    return TrustStore(
        roots=tuple(_der(path) for path in settings.trust.roots),
        intermediates=tuple(_der(path) for path in settings.trust.intermediates),
        issuers=tuple(_profile(issuer) for issuer in settings.trust.issuers),
    )


def egress_of(settings: Settings) -> Egress:
    """The way out: the issuers' responders are registered, nothing else."""
    development = settings.development
    loopback = (
        development is not None and development.dangerous_development_allow_loopback_responders
    )
    return Egress(
        {
            PURPOSE: tuple(
                Destination(issuer.responder_url, allow_loopback=loopback)
                for issuer in settings.trust.issuers
            )
        }
    )
