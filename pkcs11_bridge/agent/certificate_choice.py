"""Which of a card's certificates a person authenticates with.

Suitable (Web eID validation, step 5): KeyUsage present with digitalSignature; extended key usage
absent or with clientAuth; an RSA or P-256 key. A certificate for nonRepudiation alone is thus
never used. Among several suitable ones, each preference is followed as long as any is left:
clientAuth said outright; no nonRepudiation beside; valid now. Exactly one must remain.

Extensions are read with asn1crypto: some national cards encode the default cA=FALSE, on which
cryptography refuses to read any extension.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pkcs11_bridge.agent.errors import (
    CardSignatureInvalid,
    CertificateAmbiguous,
    CertificateNotSuitable,
)
from pkcs11_bridge.agent.token import JoseAlgorithm
from pkcs11_bridge.encoding import raw_to_der
from pkcs11_bridge.errors import KeyUnsupported
from pkcs11_bridge.mechanisms import KeyAlgorithm, algorithm_of
from pkcs11_bridge.objects import TokenCertificate

_CLIENT_AUTH = "client_auth"
_USED_KINDS = frozenset(kind for kind in KeyAlgorithm if kind.is_rsa) | {KeyAlgorithm.EC_P256}


@dataclass(frozen=True, slots=True)
class AuthenticationCertificate:
    """A certificate that suits, with what the signature needs."""

    stored: TokenCertificate
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    key_algorithm: KeyAlgorithm
    algorithm: JoseAlgorithm
    holder: str
    """Common name, for the person to recognise the card; not verified by anybody yet."""
    says_client_auth: bool
    says_non_repudiation: bool
    not_before: datetime
    not_after: datetime

    def require_signature(self, signature: bytes, message: bytes) -> None:
        """Check the card's signature with the card's own certificate.

        Raises:
            CardSignatureInvalid: it does not verify.
        """
        try:
            if isinstance(self.public_key, rsa.RSAPublicKey):
                self.public_key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                der = raw_to_der(signature)
                self.public_key.verify(der, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as e:
            raise CardSignatureInvalid("the card's signature and certificate do not match") from e


def choose(certificates: Iterable[TokenCertificate], at: datetime) -> AuthenticationCertificate:
    """The one authentication certificate.

    Raises:
        CertificateNotSuitable: none suits.
        CertificateAmbiguous: several do, and no preference tells them apart.
    """
    suitable = [read for stored in certificates if (read := _suitable(stored)) is not None]
    if not suitable:
        raise CertificateNotSuitable("the card holds no authentication certificate")
    preferences: tuple[Callable[[AuthenticationCertificate], bool], ...] = (
        lambda candidate: candidate.says_client_auth,
        lambda candidate: not candidate.says_non_repudiation,
        lambda candidate: candidate.not_before <= at <= candidate.not_after,
    )
    for preferred in preferences:
        suitable = [candidate for candidate in suitable if preferred(candidate)] or suitable
    if len(suitable) > 1:
        raise CertificateAmbiguous(len(suitable))
    return suitable[0]


def _suitable(stored: TokenCertificate) -> AuthenticationCertificate | None:
    """The certificate read, or None if it is not one to authenticate with."""
    try:
        certificate = x509.load_der_x509_certificate(stored.unverified_der)
        public_key = certificate.public_key()
        holder = _common_name(certificate)
        usages = _usages(stored.unverified_der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None  # what cannot be read is not suitable; other certificates may be
    if not isinstance(public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return None
    try:
        key_algorithm = algorithm_of(public_key)
    except KeyUnsupported:
        return None
    key_usage, extended = usages
    if key_algorithm not in _USED_KINDS or "digital_signature" not in key_usage:
        return None
    if extended is not None and _CLIENT_AUTH not in extended:
        return None
    return AuthenticationCertificate(
        stored=stored,
        public_key=public_key,
        key_algorithm=key_algorithm,
        algorithm="RS256" if key_algorithm.is_rsa else "ES256",
        holder=holder,
        says_client_auth=extended is not None,
        says_non_repudiation="non_repudiation" in key_usage,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _usages(der: bytes) -> tuple[set[str], set[str] | None]:
    """Key usage bits (empty if absent) and extended key usages (None if absent)."""
    certificate = asn1_x509.Certificate.load(der)
    key_usage = certificate.key_usage_value
    extended = certificate.extended_key_usage_value
    return (
        set() if key_usage is None else set(key_usage.native),
        None if extended is None else set(extended.native),
    )


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = str(names[0].value) if names else certificate.subject.rfc4514_string()
    # It goes to a terminal or a window: control characters could rewrite what stands there.
    return "".join(character if character.isprintable() else "?" for character in name)
