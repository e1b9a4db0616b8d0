"""What the path library lets pass and must not, in the CA certificates of one candidate path.

Of the guards on every certificate, these hold already elsewhere: no extension twice, a positive
serial number, no policy qualifier that nobody can read (`certificate.read_certificate`); no
keyCertSign, no unprocessed critical extension and no weak key in a user's certificate (`leaf`); no
weak key of a CA (`config`, `chain`); every CA certificate in date, the root included (`chain`).
"""

from collections.abc import Iterable

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from ocsp.certificate import ReadCertificate
from ocsp.errors import CertificateMalformed, CertificateNotTrusted, CertificatePurposeWrong
from ocsp.path_building import Path

_NEVER_CRITICAL = frozenset(
    {ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.SUBJECT_KEY_IDENTIFIER}
)


def check_path(path: Path, *, purposes: frozenset[x509.ObjectIdentifier]) -> None:
    """Refuse a candidate path for what the library does not look at.

    Args:
        path: the certificate first, the root last.
        purposes: extended key usages that no CA certificate may rule out; empty for a certificate
            that is not used for a purpose of the kind (a CRL's signer).

    Raises:
        CertificateMalformed, CertificatePurposeWrong, CertificateNotTrusted.
    """
    for authority in path[1:]:
        # 1. RFC 5280 sections 4.2.1.1, 4.2.1.2: conforming CAs mark them non-critical.
        for extension in authority.extensions:
            if extension.critical and extension.oid in _NEVER_CRITICAL:
                raise CertificateMalformed("a key identifier of a CA certificate is critical")
        # 2. Extended key usages nest: a CA that has any speaks for no other.
        _check_nesting(authority, purposes)
    # 3. A wildcard stands for names that an authority may have excluded (CVE-2025-61727).
    _check_wildcards(path)


def _check_nesting(authority: ReadCertificate, purposes: frozenset[x509.ObjectIdentifier]) -> None:
    extended = authority.extension(x509.ExtendedKeyUsage)
    if extended is None:
        return
    own = set(extended)
    if ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in own and not purposes <= own:
        raise CertificatePurposeWrong("a CA certificate of the path is for other purposes")


def _check_wildcards(path: Path) -> None:
    wildcards = [name[2:] for name in _dns_names(path[0]) if name.startswith("*.")]
    if not wildcards:
        return
    for authority in path[1:]:
        for excluded in _excluded_dns(authority):
            if any(_may_fall_under(domain, excluded) for domain in wildcards):
                raise CertificateNotTrusted(f"a wildcard name may stand for one under {excluded}")


def _may_fall_under(domain: str, excluded: str) -> bool:
    """Some name one label below `domain` may lie in the excluded subtree."""
    return (
        excluded in {"", domain}
        or excluded.endswith("." + domain)
        or domain.endswith("." + excluded)
    )


def _dns_names(read: ReadCertificate) -> list[str]:
    names = read.extension(x509.SubjectAlternativeName)
    if names is None:
        return []
    return [name.lower().rstrip(".") for name in names.get_values_for_type(x509.DNSName)]


def _excluded_dns(authority: ReadCertificate) -> Iterable[str]:
    constraints = authority.extension(x509.NameConstraints)
    if constraints is None:
        return []
    return [
        name.value.lower().strip(".")
        for name in constraints.excluded_subtrees or ()
        if isinstance(name, x509.DNSName)
    ]
