"""Certificate revocation lists, complete and delta (RFC 5280 section 5), made and signed.

The list's key is its own, and not the CA's: its certificate bears the CA's name, so that the list
is a direct one (section 5.1.1.3).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ocsp.errors import ResponderMisconfigured
from ocsp.responder.answering import SigningKey
from ocsp.responder.statuses import IssuedRevoked, IssuedSuspended, RevocationReason


@dataclass(frozen=True, slots=True)
class Removed:
    """On a delta list: no longer on hold, or expired (RFC 5280 section 5.2.4).

    Attributes:
        listed: the date under which it was listed.
    """

    listed: datetime


Listed = IssuedRevoked | IssuedSuspended
Changed = Listed | Removed


@dataclass(frozen=True, slots=True)
class CrlIssuer:
    """Who signs the lists of a CA.

    Attributes:
        authority: the CA's certificate.
        certificate: of the list's key, with the CA's name and cRLSign.
        key: a private key, or an object that is one to callers and signs in a token.
    """

    authority: x509.Certificate
    certificate: x509.Certificate
    key: SigningKey = field(repr=False)

    def __post_init__(self) -> None:
        subject = self.certificate.subject.public_bytes()
        if subject != self.authority.subject.public_bytes():
            raise ResponderMisconfigured("the CRL certificate does not bear the CA's name")
        if self.key.public_key() != self.certificate.public_key():
            raise ResponderMisconfigured("the key is not the CRL certificate's")
        try:
            extensions = self.certificate.extensions
            usage = extensions.get_extension_for_class(x509.KeyUsage).value
        except (x509.ExtensionNotFound, ValueError) as e:
            raise ResponderMisconfigured("the CRL certificate lacks an extension") from e
        if not usage.crl_sign:
            raise ResponderMisconfigured("the CRL certificate may not sign lists")
        key_identifier(self.certificate)

    def can_sign(self, at: datetime) -> bool:
        """Whether the certificate is valid now."""
        return self.certificate.not_valid_before_utc <= at < self.certificate.not_valid_after_utc

    def is_named_in(self, own_crl: bytes) -> bool:
        """Whether a list of ours, DER, names this key as its own; no signature is verified."""
        return key_named_in(own_crl) == key_identifier(self.certificate)

    def end_of(self, this_update: datetime, validity: timedelta) -> datetime:
        """The nextUpdate of a list: with the certificate's end nobody accepts it any more."""
        return min(this_update + validity, self.certificate.not_valid_after_utc)


def key_identifier(certificate: x509.Certificate) -> bytes:
    """How lists name the key of this certificate (RFC 5280 section 4.2.1.2).

    Raises:
        ResponderMisconfigured: the certificate does not say.
    """
    try:
        extensions = certificate.extensions
        return extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError) as e:
        raise ResponderMisconfigured("the CRL certificate has no key identifier") from e


def key_named_in(own_crl: bytes) -> bytes | None:
    """The identifier of the key that a list of ours names as its own; None if it names none.

    Args:
        own_crl: DER, out of our own records: its signature is not verified.

    Source: RFC 5280 section 5.2.1.
    """
    try:
        extensions = x509.load_der_x509_crl(own_crl).extensions
        named = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return None
    return named.key_identifier


@dataclass(frozen=True, slots=True)
class CrlTimes:
    """Number and times of a list.

    Attributes:
        number: larger than that of every earlier list of the CA; at most 20 octets.
        this_update: whole seconds, UTC.
        next_update: likewise.
    """

    number: int
    this_update: datetime
    next_update: datetime


def complete_crl(
    issuer: CrlIssuer, listed: Mapping[int, Listed], times: CrlTimes, *, delta_url: str | None
) -> bytes:
    """Sign a complete list.

    Args:
        issuer: signs.
        listed: every certificate that is revoked or suspended, by serial number.
        times: number and times.
        delta_url: where delta lists are published; None where none are.

    Returns:
        DER of a CertificateList.
    """
    extensions: list[tuple[x509.ExtensionType, bool]] = []
    if delta_url is not None:
        point = x509.DistributionPoint(
            [x509.UniformResourceIdentifier(delta_url)], None, None, None
        )
        extensions.append((x509.FreshestCRL([point]), False))
    return _sign(issuer, listed, times, extensions)


def delta_crl(
    issuer: CrlIssuer, changed: Mapping[int, Changed], times: CrlTimes, *, base_number: int
) -> bytes:
    """Sign a delta list.

    Args:
        issuer: signs.
        changed: what `changes_since` found, by serial number.
        times: number and times.
        base_number: of the complete list that it changes.

    Returns:
        DER of a CertificateList.
    """
    return _sign(issuer, changed, times, [(x509.DeltaCRLIndicator(base_number), True)])


def changes_since(
    base: Mapping[int, Changed], last_delta: Mapping[int, Changed], present: Mapping[int, Listed]
) -> dict[int, Changed]:
    """What a delta list has to say (RFC 5280 section 5.2.4).

    What was put on hold and released since the base was never on it, and yet must be listed as
    removed: the last delta list had it.

    Args:
        base: on the complete list that is changed.
        last_delta: on the last delta list to that base, nothing if there was none.
        present: what a complete list would hold now.
    """
    changed: dict[int, Changed] = {
        serial: status for serial, status in present.items() if base.get(serial) != status
    }
    for serial, status in {**base, **last_delta}.items():
        if serial not in present:
            date = status.listed if isinstance(status, Removed) else _date(status)
            changed[serial] = Removed(date)
    return changed


def entries_of(crl_der: bytes) -> dict[int, Changed]:
    """What a list of ours says, by serial number."""
    return {entry.serial_number: _read(entry) for entry in x509.load_der_x509_crl(crl_der)}


def _sign(
    issuer: CrlIssuer,
    entries: Mapping[int, Changed],
    times: CrlTimes,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> bytes:
    certificate = issuer.certificate
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(certificate.subject)
        .last_update(times.this_update)
        .next_update(times.next_update)
        .add_extension(authority, critical=False)
        .add_extension(x509.CRLNumber(times.number), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    for serial in sorted(entries):
        builder = builder.add_revoked_certificate(_entry(serial, entries[serial]))
    crl = builder.sign(issuer.key, hashes.SHA256())
    return crl.public_bytes(serialization.Encoding.DER)


def _entry(serial: int, status: Changed) -> x509.RevokedCertificate:
    date = status.listed if isinstance(status, Removed) else _date(status)
    builder = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(date)
    reason = _flag(status)
    # Unspecified is better left out (RFC 5280 section 5.3.1).
    if reason is not x509.ReasonFlags.unspecified:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    return builder.build()


def _date(status: Listed) -> datetime:
    return status.at if isinstance(status, IssuedRevoked) else status.since


def _flag(status: Changed) -> x509.ReasonFlags:
    match status:
        case Removed():
            return x509.ReasonFlags.remove_from_crl
        case IssuedSuspended():
            return x509.ReasonFlags.certificate_hold
        case IssuedRevoked(_, reason):
            return x509.ReasonFlags(reason.value)


def _read(entry: x509.RevokedCertificate) -> Changed:
    date = entry.revocation_date_utc
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return IssuedRevoked(date, RevocationReason.UNSPECIFIED)
    if reason is x509.ReasonFlags.remove_from_crl:
        return Removed(date)
    if reason is x509.ReasonFlags.certificate_hold:
        return IssuedSuspended(date)
    return IssuedRevoked(date, RevocationReason(reason.value))
