"""CRLs with every field free, for tests: `replace` changes one, `make_crl` signs again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from asn1crypto import core, crl
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from tests.support.certificates import NOW, Issued, sign_bytes


@dataclass(frozen=True)
class EntrySpec:
    """One revoked certificate."""

    serial: int
    reason: x509.ReasonFlags | None = None
    revoked_at: datetime = NOW - timedelta(days=2)
    certificate_issuer: x509.Name | None = None
    more_extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()


@dataclass(frozen=True)
class CrlSpec:
    """Every field of a CRL; None leaves an extension out."""

    issuer: Issued
    entries: tuple[EntrySpec, ...] = ()
    issuer_name: x509.Name | None = None  # None: the issuer's subject
    this_update: datetime = NOW - timedelta(hours=1)
    next_update: datetime = NOW + timedelta(hours=11)
    number: int | None = 7
    delta_base: int | None = None
    scope: x509.IssuingDistributionPoint | None = None
    more_extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    hash_algorithm: hashes.SHA256 | hashes.SHA384 = field(default_factory=hashes.SHA256)


def scope(**changes: object) -> x509.IssuingDistributionPoint:
    """An issuing distribution point that limits nothing, with these fields changed."""
    fields: dict[str, object] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**(fields | changes))  # type: ignore[arg-type]  # names and types are its own


def _extensions(spec: CrlSpec) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    if spec.number is not None:
        found.append((x509.CRLNumber(spec.number), False))
    if spec.delta_base is not None:
        found.append((x509.DeltaCRLIndicator(spec.delta_base), True))
    if spec.scope is not None:
        found.append((spec.scope, True))
    return [*found, *spec.more_extensions]


def _entry(spec: EntrySpec) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder().serial_number(spec.serial).revocation_date(spec.revoked_at)
    )
    if spec.certificate_issuer is not None:
        name = x509.CertificateIssuer([x509.DirectoryName(spec.certificate_issuer)])
        builder = builder.add_extension(name, critical=True)
    if spec.reason is not None:
        builder = builder.add_extension(x509.CRLReason(spec.reason), critical=False)
    for extension, critical in spec.more_extensions:
        builder = builder.add_extension(extension, critical)
    return builder.build()


def make_crl(spec: CrlSpec) -> bytes:
    """Sign the CRL that the spec describes."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(spec.issuer_name or spec.issuer.certificate.subject)
        .last_update(spec.this_update)
        .next_update(spec.next_update)
    )
    for extension, critical in _extensions(spec):
        builder = builder.add_extension(extension, critical)
    for entry in spec.entries:
        builder = builder.add_revoked_certificate(_entry(entry))
    signed = builder.sign(spec.issuer.key, spec.hash_algorithm)
    return signed.public_bytes(serialization.Encoding.DER)


def edited_crl(der: bytes, issuer: Issued, edit: Callable[[crl.TbsCertList], None]) -> bytes:
    """The CRL with its signed part edited and signed again, for what no builder will write."""
    loaded = crl.CertificateList.load(der)
    tbs = loaded["tbs_cert_list"].copy()
    edit(tbs)
    tbs_der = tbs.dump(force=True)
    again = crl.CertificateList(
        {
            "tbs_cert_list": crl.TbsCertList.load(tbs_der),
            "signature_algorithm": loaded["signature_algorithm"].copy(),
            "signature": core.OctetBitString(sign_bytes(issuer.key, tbs_der)),
        }
    )
    return bytes(again.dump())
