"""Which of a card's certificates a person authenticates with.

Suitable (Web eID validation, step 5): KeyUsage present with digitalSignature; extended key usage
absent or with clientAuth; an RSA or P-256 key. A certificate for nonRepudiation alone is thus
never used. Among several suitable ones, each preference is followed as long as any is left:
clientAuth said outright; no nonRepudiation beside; valid now. Of those that remain the person
chooses. What is not valid now is refused here already, before a PIN is typed in vain.

Extensions are read with asn1crypto: some national cards encode the default cA=FALSE, on which
cryptography refuses to read any extension.
"""

from collections.abc import Callable, Iterable, Sequence
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
    CertificateExpired,
    CertificateNotSuitable,
    CertificateNotYetValid,
    SigningCertificateOnly,
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
    issuer: str
    """The issuer's common name, as little verified."""
    says_client_auth: bool
    says_non_repudiation: bool
    not_before: datetime
    not_after: datetime

    @property
    def label(self) -> str:
        """What the card calls it, fit to be shown."""
        return printable(self.stored.label)

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


Choice = Callable[[Sequence[AuthenticationCertificate]], AuthenticationCertificate]
"""Asks the person which of several certificates to use."""


def refuse_ambiguity(candidates: Sequence[AuthenticationCertificate]) -> AuthenticationCertificate:
    """The ``Choice`` where nobody can be asked; raises CertificateAmbiguous."""
    raise CertificateAmbiguous(len(candidates))


def choose(
    certificates: Iterable[TokenCertificate], at: datetime, ask: Choice = refuse_ambiguity
) -> AuthenticationCertificate:
    """The one authentication certificate.

    Args:
        certificates: everything on the card.
        at: now, timezone-aware.
        ask: called when several suit and no preference tells them apart.

    Raises:
        SigningCertificateOnly: nothing but certificates for nonRepudiation.
        CertificateExpired, CertificateNotYetValid: one suits, and not now.
        CertificateNotSuitable: none suits for another reason.
        CertificateAmbiguous: several do, and nobody chose.
    """
    certificates = tuple(certificates)
    suitable = [read for stored in certificates if (read := _suitable(stored)) is not None]
    if not suitable:
        if any(is_for_signing_only(stored.unverified_der) for stored in certificates):
            raise SigningCertificateOnly("the card holds certificates for signing documents only")
        raise CertificateNotSuitable("the card holds no authentication certificate")
    preferences: tuple[Callable[[AuthenticationCertificate], bool], ...] = (
        lambda candidate: candidate.says_client_auth,
        lambda candidate: not candidate.says_non_repudiation,
        lambda candidate: candidate.not_before <= at <= candidate.not_after,
    )
    for preferred in preferences:
        suitable = [candidate for candidate in suitable if preferred(candidate)] or suitable
    chosen = suitable[0] if len(suitable) == 1 else ask(tuple(suitable))
    if at > chosen.not_after:
        raise CertificateExpired(chosen.not_after)
    if at < chosen.not_before:
        raise CertificateNotYetValid(chosen.not_before)
    return chosen


def is_for_authentication(stored: TokenCertificate) -> bool:
    """Whether a person can authenticate with it, whenever it is valid."""
    return _suitable(stored) is not None


def is_for_signing_only(unverified_der: bytes) -> bool:
    """Whether the key usage says nonRepudiation and nothing that authenticates."""
    try:
        key_usage, _ = usages(unverified_der)
    except (ValueError, TypeError):
        return False
    return "non_repudiation" in key_usage and "digital_signature" not in key_usage


def _suitable(stored: TokenCertificate) -> AuthenticationCertificate | None:
    """The certificate read, or None if it is not one to authenticate with."""
    try:
        certificate = x509.load_der_x509_certificate(stored.unverified_der)
        public_key = certificate.public_key()
        holder, issuer = common_name(certificate.subject), common_name(certificate.issuer)
        key_usage, extended = usages(stored.unverified_der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None  # what cannot be read is not suitable; other certificates may be
    if not isinstance(public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        return None
    try:
        key_algorithm = algorithm_of(public_key)
    except KeyUnsupported:
        return None
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
        issuer=issuer,
        says_client_auth=extended is not None,
        says_non_repudiation="non_repudiation" in key_usage,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def usages(unverified_der: bytes) -> tuple[set[str], set[str] | None]:
    """Key usage bits (empty if absent) and extended key usages (None if absent).

    Both by asn1crypto's names.

    Raises:
        ValueError, TypeError: not a certificate.
    """
    certificate = asn1_x509.Certificate.load(unverified_der)
    key_usage = certificate.key_usage_value
    extended = certificate.extended_key_usage_value
    return (
        set() if key_usage is None else set(key_usage.native),
        None if extended is None else set(extended.native),
    )


def common_name(name: x509.Name) -> str:
    """The common name, or else the whole name, fit to be shown."""
    found = name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return printable(str(found[0].value) if found else name.rfc4514_string())


def printable(text: str) -> str:
    """The text for a terminal or a window: control characters could rewrite what stands there."""
    return "".join(character if character.isprintable() else "?" for character in text)
