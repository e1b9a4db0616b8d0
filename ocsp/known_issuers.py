"""What a full path decision said about the CAs, kept for their next certificate.

A valid path proves its CA part for every end-entity certificate that the same CA signed, as long
as nothing in it depends on the certificate below: no name constraints, no policy mappings, no
policy constraints, no inhibited anyPolicy. Such a part is remembered. From it alone a certificate
can be accepted, never refused: whatever does not fit goes to the full decision.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ocsp.certificate import ReadCertificate

ANY_POLICY = "2.5.29.32.0"
"""anyPolicy (RFC 5280 section 4.2.1.4)."""

_DEPENDS_ON_WHAT_IS_BELOW = (
    x509.NameConstraints,
    x509.PolicyConstraints,
    x509.InhibitAnyPolicy,
)
_POLICY_MAPPINGS = x509.ObjectIdentifier("2.5.29.33")
_HASHES = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True, slots=True)
class KnownIssuer:
    """The CA part of a valid path.

    Attributes:
        authorities: the issuer first, the root last.
        policies: those that all of them pass on; None stands for every policy.
        not_before: start of the time in which all of them are valid.
        not_after: end of that time.
    """

    authorities: tuple[ReadCertificate, ...]
    policies: frozenset[str] | None
    not_before: datetime
    not_after: datetime

    def issued(self, read: ReadCertificate, policies: frozenset[str], at: datetime) -> bool:
        """Whether the path to this end-entity certificate is valid as well; False: ask in full.

        Args:
            read: not a CA, valid at `at`, without unprocessed critical extensions.
            policies: dotted OIDs, one of which must be valid for the path.
            at: the time of the decision.
        """
        return (
            self.not_before <= at <= self.not_after
            and self._passes_on(read.policies, policies)
            and self._is_identified_by(read)
            and self._signed(read)
        )

    def _passes_on(self, asserted: frozenset[str], required: frozenset[str]) -> bool:
        if ANY_POLICY in asserted:
            return False
        valid = asserted if self.policies is None else asserted & self.policies
        return bool(valid & required)

    def _is_identified_by(self, read: ReadCertificate) -> bool:
        """The authority key identifier is the issuer's, so that path building would take it."""
        named = read.extension(x509.AuthorityKeyIdentifier)
        own = self.authorities[0].extension(x509.SubjectKeyIdentifier)
        return (
            named is not None
            and own is not None
            and named.key_identifier == own.digest
            and named.authority_cert_serial_number is None
        )

    def _signed(self, read: ReadCertificate) -> bool:
        used = read.certificate.signature_hash_algorithm
        if used is None or used.name not in _HASHES:
            return False
        try:
            read.certificate.verify_directly_issued_by(self.authorities[0].certificate)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            return False
        return True


def known_issuer(authorities: tuple[ReadCertificate, ...]) -> KnownIssuer | None:
    """The reusable CA part of a path that was just found valid, or None if it is not reusable.

    Args:
        authorities: the issuer first, the root last.
    """
    policies: frozenset[str] | None = None
    for authority in authorities:
        if _depends_on_what_is_below(authority.extensions):
            return None
        own = authority.policies
        if authority is authorities[-1]:
            # A root's own policies restrict the path in the engine; without any, nothing does.
            if own and ANY_POLICY not in own:
                return None
        elif ANY_POLICY not in own:
            policies = own if policies is None else policies & own
    return KnownIssuer(
        authorities=authorities,
        policies=policies,
        not_before=max(a.certificate.not_valid_before_utc for a in authorities),
        not_after=min(a.certificate.not_valid_after_utc for a in authorities),
    )


def _depends_on_what_is_below(extensions: x509.Extensions) -> bool:
    return any(
        isinstance(extension.value, _DEPENDS_ON_WHAT_IS_BELOW) or extension.oid == _POLICY_MAPPINGS
        for extension in extensions
    )
