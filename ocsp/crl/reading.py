"""One CRL read strictly and whole, before anybody judges what it says.

`cryptography` reads entries when they are asked for; here all are read at once, so that rubbish in
the middle of a list is found before the list decides anything, and so that looking a certificate up
later costs one look into a dictionary.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from ocsp.crl.errors import CrlExtensionUnknown, CrlMalformed
from ocsp.names import ComparableName, comparable

_T = TypeVar("_T", bound=x509.ExtensionType)

MAX_ENTRIES = 1_000_000
"""Entries of one CRL; larger ones are refused."""

_PROCESSED_CRITICAL = frozenset(
    {
        ExtensionOID.ISSUING_DISTRIBUTION_POINT,
        ExtensionOID.DELTA_CRL_INDICATOR,
        ExtensionOID.CRL_NUMBER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    }
)
_PROCESSED_CRITICAL_OF_ENTRIES = frozenset(
    {CRLEntryExtensionOID.CRL_REASON, CRLEntryExtensionOID.CERTIFICATE_ISSUER}
)
_FOREIGN = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UserWarning,  # a name of no country's length: where warnings are errors
)
"""What parsing hostile DER raises in `cryptography`."""


@dataclass(frozen=True, slots=True)
class CrlEntry:
    """One revoked certificate.

    Attributes:
        issuer: of the certificate; None stands for the CRL's own issuer.
        revoked_at: when, by the CA's word.
        reason: the CRLReason, None if not given or not defined by RFC 5280 section 5.3.1.
    """

    issuer: ComparableName | None
    revoked_at: datetime
    reason: x509.ReasonFlags | None


@dataclass(frozen=True, slots=True)
class ReadCrl:
    """A well-formed CRL: read, not judged. Nothing about its signature or age is proved.

    Attributes:
        der: the bytes as they came.
        crl: the parsed form, for its signature.
        issuer: its issuer's name, comparable.
        this_update: when it was made.
        next_update: newer information by then; never absent (section 5.1.2.5).
        number: CRLNumber, None if it has none.
        base_number: of a delta CRL, the BaseCRLNumber; None for a complete CRL.
        scope: the issuing distribution point, None if it has none.
        entries: by serial number.
    """

    der: bytes = field(repr=False)
    crl: x509.CertificateRevocationList = field(repr=False)
    issuer: ComparableName
    this_update: datetime
    next_update: datetime
    number: int | None
    base_number: int | None
    scope: x509.IssuingDistributionPoint | None
    entries: Mapping[int, tuple[CrlEntry, ...]] = field(repr=False)

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal SHA-256 of the DER."""
        return sha256(self.der).hexdigest()

    @property
    def is_delta(self) -> bool:
        """It lists changes to a complete CRL."""
        return self.base_number is not None

    def entry(self, certificate: x509.Certificate) -> CrlEntry | None:
        """What it says about a certificate, None if it does not list it.

        A list that has it twice contradicts itself: the worst is believed.
        """
        found = self.entries.get(certificate.serial_number, ())
        if not found:
            return None
        issuer = comparable(certificate.issuer)
        own = (entry for entry in found if (entry.issuer or self.issuer) == issuer)
        return max(own, key=_severity, default=None)


def _severity(entry: CrlEntry) -> int:
    """Revoked for good, before on hold, before not revoked any more."""
    match entry.reason:
        case x509.ReasonFlags.remove_from_crl:
            return 0
        case x509.ReasonFlags.certificate_hold:
            return 1
        case _:
            return 2


def read_crl(unverified_der: bytes) -> ReadCrl:
    """Parse one CRL and check its form (RFC 5280 sections 5.1 to 5.3).

    Raises:
        CrlMalformed: it is not the DER of a v2 CRL, has no nextUpdate, an extension twice, too many
            entries, or entries that a CRL of its kind cannot have.
        CrlExtensionUnknown: a critical extension that is not processed here, anywhere in it.
    """
    try:
        crl = x509.load_der_x509_crl(unverified_der)
        extensions = crl.extensions
        next_update = crl.next_update_utc
        for extension in extensions:
            if extension.critical and extension.oid not in _PROCESSED_CRITICAL:
                raise CrlExtensionUnknown(extension.oid.dotted_string)
        if next_update is None:
            raise CrlMalformed("no nextUpdate")
        scope = _found(extensions, x509.IssuingDistributionPoint)
        number = _found(extensions, x509.CRLNumber)
        delta = _found(extensions, x509.DeltaCRLIndicator)
        return ReadCrl(
            der=unverified_der,
            crl=crl,
            issuer=comparable(crl.issuer),
            this_update=crl.last_update_utc,
            next_update=next_update,
            number=None if number is None else number.crl_number,
            base_number=None if delta is None else delta.crl_number,
            scope=scope,
            entries=_entries(
                crl,
                is_delta=delta is not None,
                is_indirect=scope is not None and scope.indirect_crl,
            ),
        )
    except x509.DuplicateExtension as e:
        raise CrlMalformed(f"extension {e.oid.dotted_string} occurs twice") from e
    except _FOREIGN as e:
        raise CrlMalformed("not the DER of a CRL") from e


def _found(extensions: x509.Extensions, wanted: type[_T]) -> _T | None:
    try:
        return extensions.get_extension_for_class(wanted).value
    except x509.ExtensionNotFound:
        return None


def _entries(
    crl: x509.CertificateRevocationList, *, is_delta: bool, is_indirect: bool
) -> Mapping[int, tuple[CrlEntry, ...]]:
    if len(crl) > MAX_ENTRIES:
        raise CrlMalformed(f"more than {MAX_ENTRIES} entries")
    found: defaultdict[int, tuple[CrlEntry, ...]] = defaultdict(tuple)
    issuer: ComparableName | None = None
    for revoked in crl:
        reason: x509.ReasonFlags | None = None
        for extension in revoked.extensions:
            value = extension.value
            if extension.critical and extension.oid not in _PROCESSED_CRITICAL_OF_ENTRIES:
                raise CrlExtensionUnknown(extension.oid.dotted_string)
            if isinstance(value, x509.CRLReason):
                reason = value.reason
            elif isinstance(value, x509.CertificateIssuer):
                if not is_indirect:
                    raise CrlMalformed("a certificateIssuer in a CRL that is not indirect")
                # It holds for the entries that follow as well (section 5.3.3).
                issuer = _directory_name(value)
        if reason is x509.ReasonFlags.remove_from_crl and not is_delta:
            raise CrlMalformed("removeFromCRL in a complete CRL")
        found[revoked.serial_number] += (CrlEntry(issuer, revoked.revocation_date_utc, reason),)
    return dict(found)


def _directory_name(issuer: x509.CertificateIssuer) -> ComparableName:
    names = issuer.get_values_for_type(x509.DirectoryName)
    if len(names) != 1:
        raise CrlMalformed("a certificateIssuer without exactly one directory name")
    return comparable(names[0])
