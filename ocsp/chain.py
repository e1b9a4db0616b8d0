"""From the bytes of a certificate to a validated chain: steps 4 to 9 of the login check."""

from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import Never

from cryptography import x509

from ocsp.certificate import (
    ReadCertificate,
    check_key_strength,
    check_validity,
    read_certificate,
)
from ocsp.config import CA_CURVES, CA_MIN_RSA_BITS, IssuerProfile, TrustStore
from ocsp.errors import CertificateNotTrusted, CertificateRefused, PathMember
from ocsp.leaf import check_leaf, display_name, person_identifier
from ocsp.path_building import Path

MAX_OFFERED = 8
"""Intermediates looked at of those that come with one certificate."""

_SEAL = object()


@dataclass(frozen=True, slots=True)
class ValidatedChain:
    """A certificate with a valid path to a root, fit for login. Its status is NOT checked.

    Made by `validate_path` alone.

    Attributes:
        read: the user's certificate with readable extensions.
        path: the user's first, the root last; at least two.
        profile: the rules of the CA that issued it.
        at: the instant for which the path is valid.
    """

    read: ReadCertificate
    path: Path
    profile: IssuerProfile
    at: datetime
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("ValidatedChain is made by validate_path() alone")

    def __reduce__(self) -> Never:
        raise TypeError("ValidatedChain cannot be pickled")

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The path's certificates, in its order."""
        return tuple(member.certificate for member in self.path)

    @property
    def leaf(self) -> x509.Certificate:
        """The user's certificate; for its extensions use `read.extensions`."""
        return self.read.certificate

    @property
    def issuer(self) -> x509.Certificate:
        """The CA certificate whose key signed the leaf."""
        return self.path[1].certificate

    @property
    def display_name(self) -> str:
        """What the subject is greeted by, by the issuer's rule; "" if it has no such name."""
        return display_name(self.leaf, self.profile)

    @property
    def person(self) -> str:
        """Who the subject is by the issuer's rule; raises CertificatePersonMissing."""
        return person_identifier(self.leaf, self.profile)


def validate_path(
    unverified_certificate_der: bytes,
    store: TrustStore,
    at: datetime,
    *,
    unverified_intermediates: Sequence[bytes] = (),
) -> ValidatedChain:
    """Decide whether a certificate is a user's, in date, and issued below a root of ours.

    The caller still owes: proof that somebody holds the key, then the status (`establish_trust`).

    Args:
        unverified_certificate_der: as the client sent it.
        store: roots, intermediates and issuer profiles.
        at: the time of the check, in UTC.
        unverified_intermediates: from the client's token: candidates, tried after the store's own;
            a path still ends at a root of the store, and goes through an issuer with a profile.

    Raises:
        CertificateRefused: by its subclasses: the certificate is bad.
        PathUndecided: it could not be found out.
    """
    # 4. It is one X.509 certificate that RFC 5280 allows.
    read = read_certificate(unverified_certificate_der)
    # 5-7. Purpose, policies and key, validity: by the rules of the issuer that it claims.
    claimed = store.profile_named(read)
    check_leaf(read, claimed, at)
    if claimed is None:
        raise CertificateNotTrusted("no profile for the claimed issuer")
    # 8. RFC 5280 path over fixed certificates to a root, one of those that the issuer's profile
    #    names, if it names any; valid for a policy found in step 6.
    policies = read.policies & claimed.required_policies
    offered = _read_offered(unverified_intermediates)
    path = store.engine.find_path(
        read, policies=policies, at=at, anchors=claimed.anchors, offered=offered
    )
    #    The issuer that signed must be the one whose rules were applied, by name and key.
    if store.profile_of(path[1]) is not claimed:
        raise CertificateNotTrusted("the issuer found has no profile, or another one")
    # 9. Every CA certificate used is valid now, the root included.
    for authority in path[1:]:
        check_validity(authority.certificate, PathMember.AUTHORITY, at)
    return ValidatedChain(read=read, path=path, profile=claimed, at=at, seal=_SEAL)


def _read_offered(unverified_intermediates: Sequence[bytes]) -> Iterable[ReadCertificate]:
    """Those of the first MAX_OFFERED that are CA certificates; the others help nobody."""
    for unverified in unverified_intermediates[:MAX_OFFERED]:
        try:
            read = read_certificate(unverified)
            check_key_strength(
                read.public_key, min_rsa_bits=CA_MIN_RSA_BITS, allowed_curves=CA_CURVES
            )
        except CertificateRefused:
            continue
        if read.is_ca:
            yield read
