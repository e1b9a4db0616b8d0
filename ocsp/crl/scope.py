"""For which certificates and reasons a CRL speaks: RFC 5280 section 6.3.3, steps (b) to (e)."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from cryptography import x509

from ocsp.certificate import ReadCertificate
from ocsp.crl.reading import ReadCrl
from ocsp.names import ComparableName, comparable, same_name

ALL_REASONS = frozenset(x509.ReasonFlags) - {
    x509.ReasonFlags.unspecified,
    x509.ReasonFlags.remove_from_crl,
}
"""The special value "all-reasons" of section 6.3.2."""


@dataclass(frozen=True, slots=True)
class DistributionPoint:
    """One distribution point of a certificate, its names made comparable.

    Attributes:
        names: where its CRL is published; empty if it only names the CRL's issuer.
        crl_issuers: who issues its CRL, if not the certificate's issuer; else empty.
        reasons: those that its CRL speaks for.
    """

    names: frozenset[Hashable]
    crl_issuers: frozenset[ComparableName]
    reasons: frozenset[x509.ReasonFlags]


def distribution_points(read: ReadCertificate) -> list[DistributionPoint]:
    """Those that the certificate names, then the one that every certificate has (section 6.3.3).

    The last is the certificate's issuer, for all reasons.
    """
    issuer = read.certificate.issuer
    named = read.extension(x509.CRLDistributionPoints) or ()
    by_default = _general_name(x509.DirectoryName(issuer))
    return [
        *(_point(point, issuer) for point in named),
        DistributionPoint(frozenset({by_default}), frozenset(), ALL_REASONS),
    ]


def _point(point: x509.DistributionPoint, issuer: x509.Name) -> DistributionPoint:
    crl_issuers = [n.value for n in point.crl_issuer or () if isinstance(n, x509.DirectoryName)]
    # A relative name extends the CRL issuer's, which is the certificate's if none is named.
    above = crl_issuers[0] if crl_issuers else issuer
    return DistributionPoint(
        names=_names(point.full_name, point.relative_name, above),
        crl_issuers=frozenset(comparable(name) for name in crl_issuers),
        reasons=ALL_REASONS if point.reasons is None else frozenset(point.reasons),
    )


def interim_reasons(
    crl: ReadCrl, read: ReadCertificate, point: DistributionPoint
) -> frozenset[x509.ReasonFlags]:
    """The reasons for which a complete CRL speaks about a certificate; empty: it does not.

    Steps (b) and (d) of section 6.3.3.
    """
    scope = crl.scope
    # (b)(1). The CRL's issuer.
    if point.crl_issuers:
        if crl.issuer not in point.crl_issuers or scope is None or not scope.indirect_crl:
            return frozenset()
    elif not same_name(crl.crl.issuer, read.certificate.issuer):
        return frozenset()
    if scope is None:
        # (d)(4) and (d)(2).
        return point.reasons
    # (b)(2)(i). The distribution point's name.
    own = _names(scope.full_name, scope.relative_name, crl.crl.issuer)
    named: Iterable[Hashable] = point.names or {("directory", n) for n in point.crl_issuers}
    if own and own.isdisjoint(named):
        return frozenset()
    # (b)(2)(ii) to (iv). The kind of certificate.
    if (
        (scope.only_contains_user_certs and read.is_ca)
        or (scope.only_contains_ca_certs and not read.is_ca)
        or scope.only_contains_attribute_certs
    ):
        return frozenset()
    # (d)(1) and (d)(3).
    some = scope.only_some_reasons
    return point.reasons if some is None else point.reasons & some


def completes(delta: ReadCrl, base: ReadCrl) -> bool:
    """Whether a delta CRL may be combined with a complete one.

    Section 6.3.3 step (c) and section 5.2.4; the shared signer is the caller's to check.
    """
    if delta.base_number is None or delta.number is None or base.number is None:
        return False
    return (
        # (c)(1), (c)(2).
        delta.issuer == base.issuer
        and delta.scope == base.scope
        # 5.2.4 (c), (d).
        and base.number >= delta.base_number
        and base.number < delta.number
    )


def _names(
    full: Iterable[x509.GeneralName] | None,
    relative: x509.RelativeDistinguishedName | None,
    above: x509.Name,
) -> frozenset[Hashable]:
    if full is not None:
        return frozenset(_general_name(name) for name in full)
    if relative is not None:
        return frozenset({_general_name(x509.DirectoryName(x509.Name([*above.rdns, relative])))})
    return frozenset()


def _general_name(name: x509.GeneralName) -> Hashable:
    if isinstance(name, x509.DirectoryName):
        return ("directory", comparable(name.value))
    return name
