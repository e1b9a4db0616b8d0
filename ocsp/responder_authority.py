"""Who may sign an answer about an issuer's certificates: the issuer, or its own delegate.

RFC 6960 section 4.2.2.2, read strictly: a CA is its subject and its key, never a name alone, and a
delegate of another CA of the same store is nobody here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ocsp.certificate import (
    PublicKey,
    ReadCertificate,
    check_key_strength,
    check_validity,
    read_certificate,
)
from ocsp.config import CA_CURVES, CA_MIN_RSA_BITS
from ocsp.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRefused,
    DelegateStatusUnknown,
    KeyTooWeak,
    PathMember,
    ResponderExpired,
    ResponderKeyTooWeak,
    ResponderNotAuthorised,
    ResponderNotNamed,
)
from ocsp.signature_algorithms import algorithm_identifier, scheme_of

MAX_CERTIFICATES = 8
"""Certificates looked at in one answer."""

MAX_KEPT = 64
"""Read certificates and verified delegations kept."""

_PROCESSED_CRITICAL = frozenset(
    {ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.EXTENDED_KEY_USAGE}
)


DelegateStatus = Callable[[ReadCertificate], tuple[bytes, ...]]
"""Returns the DER of the lists by which a delegate is good; raises ResponderNotAuthorised."""


def refuse_unchecked(_delegate: ReadCertificate) -> tuple[bytes, ...]:
    """Where no list can be asked: a delegate that needs one is refused.

    Raises:
        DelegateStatusUnknown: always.
    """
    raise DelegateStatusUnknown("the delegate lacks id-pkix-ocsp-nocheck, and no list is at hand")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that may turn out to be the responder's.

    Attributes:
        read: well-formed, its key strong enough.
        key_hash: SHA-1 of its key, as a ResponderID has it.
        name: its subject, RFC 4514.
    """

    read: ReadCertificate
    key_hash: bytes
    name: str


@dataclass(frozen=True, slots=True)
class ResponderId:
    """How an answer names its signer (RFC 6960 section 4.2.1): exactly one of the two is set.

    Attributes:
        key_hash: SHA-1 of the content of the public key's BIT STRING.
        name: the signer's subject.
    """

    key_hash: bytes | None
    name: x509.Name | None

    def names(self, candidate: Candidate) -> bool:
        """Whether the certificate is the one that is named."""
        if self.key_hash is not None:
            return self.key_hash == candidate.key_hash
        return self.name is not None and self.name == candidate.read.certificate.subject


@dataclass(frozen=True, slots=True)
class AuthorisedResponder:
    """A signer that may speak for the issuer.

    Attributes:
        certificate: the issuer's or the delegate's.
        key: its public key, strong enough.
        name: its subject, RFC 4514.
        lists: DER of the CRLs by which a delegate without nocheck is good.
    """

    certificate: x509.Certificate
    key: PublicKey
    name: str
    lists: tuple[bytes, ...] = ()


def responder_key_hash(key: PublicKey) -> bytes:
    """SHA-1 of the content of the key's BIT STRING; not the certificate's own key identifier."""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest


def find_responder(
    responder_id: ResponderId,
    unverified_certificates: Sequence[x509.Certificate],
    *,
    issuer: ReadCertificate,
    allowed_hashes: frozenset[str],
    at: datetime,
    delegate_status: DelegateStatus = refuse_unchecked,
) -> AuthorisedResponder:
    """The certificate that the answer names, if it may speak for the issuer.

    The signature of the answer is the caller's to verify, under the key returned.

    Args:
        responder_id: from the answer.
        unverified_certificates: those inside the answer.
        issuer: the CA certificate of the validated path.
        allowed_hashes: hash names allowed in a delegate's signature.
        at: the time of the check.
        delegate_status: asked about a delegate without nocheck.

    Raises:
        ResponderNotAuthorised: no certificate is named, or the one named may not speak.
        ResponderExpired: the delegate is outside its validity.
    """
    if len(unverified_certificates) > MAX_CERTIFICATES:
        raise ResponderNotAuthorised(f"more than {MAX_CERTIFICATES} certificates in the answer")
    own = _own_candidate(issuer)
    if responder_id.names(own):
        # The issuer itself: same subject and same key, and its path is already validated.
        return AuthorisedResponder(issuer.certificate, issuer.public_key, own.name)
    refusal: ResponderNotAuthorised = ResponderNotNamed("no certificate of the named responder")
    for unverified in unverified_certificates:
        try:
            found = read_candidate(unverified)
            if responder_id.names(found):
                read = found.read
                lists = check_delegate(
                    read,
                    issuer=issuer,
                    allowed_hashes=allowed_hashes,
                    at=at,
                    status=delegate_status,
                )
                return AuthorisedResponder(read.certificate, read.public_key, found.name, lists)
        except ResponderNotAuthorised as e:
            refusal = e
    raise refusal


def check_delegate(
    read: ReadCertificate,
    *,
    issuer: ReadCertificate,
    allowed_hashes: frozenset[str],
    at: datetime,
    status: DelegateStatus = refuse_unchecked,
) -> tuple[bytes, ...]:
    """Refuse a certificate that is no delegate of this very issuer.

    Returns:
        DER of the lists by which it is good; none for one with nocheck.

    Raises:
        ResponderNotAuthorised, ResponderExpired: with the reason.
    """
    # a-d. What is true of it at any time.
    _check_delegation(read, issuer, allowed_hashes)
    # e. In date (CVE-2026-42791).
    try:
        check_validity(read.certificate, PathMember.AUTHORITY, at)
    except (CertificateExpired, CertificateNotYetValid) as e:
        raise ResponderExpired(f"the delegate: {e}") from e
    # f. Its own status: nocheck says that nobody needs to ask; without it, a list must say.
    return status(read) if read.extension(x509.OCSPNoCheck) is None else ()


# Reading and verifying the same bytes again gives the same facts at any time, so they are kept for
# the few issuers and delegates there are; refusals are not kept.
@lru_cache(maxsize=MAX_KEPT)
def _check_delegation(
    delegate: ReadCertificate, issuer: ReadCertificate, allowed_hashes: frozenset[str]
) -> None:
    # a. A CA certificate is never a delegate (the OCSPSigning-in-a-CA incident of 2020).
    usage = delegate.extension(x509.KeyUsage)
    if delegate.is_ca or (usage is not None and (usage.key_cert_sign or usage.crl_sign)):
        raise ResponderNotAuthorised("a CA certificate cannot be a delegate")
    # b. Made for this purpose: id-kp-OCSPSigning itself; anyExtendedKeyUsage does not count.
    extended = delegate.extension(x509.ExtendedKeyUsage)
    if extended is None:
        raise ResponderNotAuthorised("the delegate has no ExtendedKeyUsage")
    if ExtendedKeyUsageOID.OCSP_SIGNING not in extended:
        raise ResponderNotAuthorised("the delegate lacks id-kp-OCSPSigning")
    if usage is not None and not usage.digital_signature:
        raise ResponderNotAuthorised("the delegate's KeyUsage lacks digitalSignature")
    # c. Issued directly by the same CA key, its signature really verified (CVE-2026-32144).
    _check_issued_by(delegate, issuer.certificate, allowed_hashes)
    # d. Nothing critical that is not understood here.
    for extension in delegate.extensions:
        if extension.critical and extension.oid not in _PROCESSED_CRITICAL:
            oid = extension.oid.dotted_string
            raise ResponderNotAuthorised(f"the delegate has the critical extension {oid}")


def _own_candidate(issuer: ReadCertificate) -> Candidate:
    try:
        return _candidate(issuer)
    except KeyTooWeak as e:
        raise ResponderKeyTooWeak(f"the issuer's own key is refused: {e}") from e


@lru_cache(maxsize=MAX_KEPT)
def read_candidate(unverified: x509.Certificate) -> Candidate:
    """Read a certificate from an answer.

    Raises:
        ResponderNotAuthorised: it is malformed, or its key too weak.
    """
    try:
        return _candidate(read_certificate(unverified.public_bytes(serialization.Encoding.DER)))
    except KeyTooWeak as e:
        raise ResponderKeyTooWeak(f"a certificate in the answer is refused: {e}") from e
    except CertificateRefused as e:
        raise ResponderNotAuthorised(f"a certificate in the answer is refused: {e}") from e


@lru_cache(maxsize=MAX_KEPT)
def _candidate(read: ReadCertificate) -> Candidate:
    check_key_strength(read.public_key, min_rsa_bits=CA_MIN_RSA_BITS, allowed_curves=CA_CURVES)
    name = read.certificate.subject.rfc4514_string()
    return Candidate(read, responder_key_hash(read.public_key), name)


def _check_issued_by(
    delegate: ReadCertificate, issuer: x509.Certificate, allowed_hashes: frozenset[str]
) -> None:
    oid = delegate.certificate.signature_algorithm_oid
    if scheme_of(oid, lambda: algorithm_identifier(delegate.der), allowed_hashes) is None:
        raise ResponderNotAuthorised("the delegate is signed by an algorithm that is not allowed")
    try:
        delegate.certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm) as e:
        raise ResponderNotAuthorised("the delegate was not issued by this CA's key") from e
