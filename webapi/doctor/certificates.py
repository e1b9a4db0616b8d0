"""The certificates of the settings: in time, and the TLS key that belongs to its own."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ocsp.errors import ConfigurationInvalid
from webapi.operations.checks import CheckResult
from webapi.settings_model import Settings
from webapi.trust_settings import (
    CertificateFileWrong,
    PersonRegisterWrong,
    read_certificate_file,
    trust_store_of,
)

WARN_BELOW = timedelta(days=30)
WARN_BELOW_FOR_DELEGATE = timedelta(hours=12)
"""A delegate lives for days and is made anew when half of that is over."""

OLDEST_CLOCK_YEAR = 2025
TLS_KEY = "tls-key"
CLOCK = "clock"
TRUST = "trust"

_RENEW = "Renew the certificate, put it into {path}, and restart the service."
_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class CertificatePlace:
    """A certificate file of the settings.

    Attributes:
        name: of the check.
        path: PEM or DER; a PEM file may hold a chain.
        warn_below: time left from which on a person is warned.
    """

    name: str
    path: Path
    warn_below: timedelta = WARN_BELOW


def certificate_places(settings: Settings) -> tuple[CertificatePlace, ...]:
    """Every certificate file that the settings name, each file once."""
    trust, listener = settings.trust, settings.ocsp_listener
    places = [CertificatePlace("certificate.tls", settings.service.tls_certificate)]
    if listener is not None:
        places += [
            CertificatePlace("certificate.ca", listener.ca_certificate),
            CertificatePlace(
                "certificate.ocsp-delegate", listener.delegate_certificate, WARN_BELOW_FOR_DELEGATE
            ),
        ]
        if listener.crl_certificate is not None:
            places.append(CertificatePlace("certificate.crl", listener.crl_certificate))
    places += [
        CertificatePlace(f"certificate.{purpose}.{declared.state}", declared.certificate)
        for purpose, keys in settings.keys.items()
        for declared in keys
        if declared.certificate is not None
    ]
    places += _numbered("root", trust.roots) + _numbered("intermediate", trust.intermediates)
    for issuer in trust.issuers:
        places += _numbered(f"issuer.{issuer.name}", issuer.certificates)
        places += _numbered(f"issuer.{issuer.name}.anchor", issuer.anchors)
        places += _numbered(f"issuer.{issuer.name}.intermediate", issuer.intermediates)
        places += _numbered(f"issuer.{issuer.name}.crl-signer", issuer.crl_signers)
    by_path: dict[Path, CertificatePlace] = {}
    for place in places:
        by_path.setdefault(place.path, place)
    return tuple(by_path.values())


def _numbered(role: str, paths: Iterable[Path]) -> list[CertificatePlace]:
    return [
        CertificatePlace(f"certificate.{role}.{number}", path)
        for number, path in enumerate(paths, 1)
    ]


def check_certificates(places: Iterable[CertificatePlace], at: datetime) -> Iterator[CheckResult]:
    """Each can be read and is in time."""
    for place in places:
        try:
            certificates = _read_all(place.path)
        except CertificateFileWrong as e:
            yield CheckResult.failed(place.name, str(e), "Correct the path, or put the file there.")
        else:
            yield validity(place, certificates, at)


def validity(
    place: CertificatePlace, certificates: list[x509.Certificate], at: datetime
) -> CheckResult:
    """Whether all of a file's certificates are valid, and for how long.

    Args:
        place: where they are.
        certificates: at least one; the one that ends first counts.
        at: now, aware UTC.
    """
    first = min(certificates, key=lambda certificate: certificate.not_valid_after_utc)
    left = first.not_valid_after_utc - at
    subject = first.subject.rfc4514_string()
    begins = max(certificate.not_valid_before_utc for certificate in certificates)
    remedy = _RENEW.format(path=place.path)
    if begins > at:
        remedy = "Correct the system clock; if it is right, use a certificate that is valid now."
        return CheckResult.failed(
            place.name, f"{subject} is valid only from {begins:%F %R}", remedy
        )
    if left < timedelta(0):
        ended = first.not_valid_after_utc
        return CheckResult.failed(place.name, f"{subject} expired on {ended:%F %R} UTC", remedy)
    seen = f"{subject} is valid for {_duration(left)}"
    if left < place.warn_below:
        return CheckResult.warning(place.name, f"{seen} only", remedy)
    return CheckResult.ok(place.name, seen)


def _duration(left: timedelta) -> str:
    hours = int(left.total_seconds()) // 3600
    return f"{left.days} days" if left.days >= 2 else f"{hours} hours"


def _read_all(path: Path) -> list[x509.Certificate]:
    """The file's certificate, or the whole chain of a PEM file."""
    first = read_certificate_file(path)
    content = path.read_bytes()
    if not content.startswith(b"-----BEGIN"):
        return [first]
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as e:
        raise CertificateFileWrong(f"{path} holds a broken certificate") from e


def check_trust(settings: Settings) -> Iterator[CheckResult]:
    """Roots, intermediates and issuers make sense together."""
    try:
        store = trust_store_of(settings)
    except (CertificateFileWrong, PersonRegisterWrong, ConfigurationInvalid) as e:
        yield CheckResult.failed(TRUST, str(e), "Correct the section [trust].")
    else:
        yield CheckResult.ok(TRUST, f"cards of {len(store.issuers)} issuing CA(s) are accepted")


def authority_check_names(settings: Settings) -> tuple[str, ...]:
    """Names of the checks that `check_authority_status` makes."""
    return tuple(f"authority-status.{issuer.name}" for issuer in settings.trust.issuers)


def check_authority_status(settings: Settings) -> Iterator[CheckResult]:
    """For each issuer, whether anybody looks if the CA certificates above it were revoked."""
    lists = len(settings.trust.authority_crl_urls)
    for name, issuer in zip(authority_check_names(settings), settings.trust.issuers, strict=True):
        reason = issuer.authorities_publish_no_status_because
        if reason is None:
            seen = f"CA certificates are checked by {lists} list(s) of the CAs above"
            yield CheckResult.ok(name, seen)
        else:
            yield CheckResult.warning(
                name,
                f"nobody looks whether a CA certificate above {issuer.name} was revoked: {reason}",
                "If there are lists, name them in trust.authority_crl_urls, and remove "
                "authorities_publish_no_status_because from the issuer's profile.",
            )


def check_tls_key(settings: Settings) -> Iterator[CheckResult]:
    """The web server's key is its owner's alone, and the certificate's own."""
    path = settings.service.tls_key
    status = path.stat() if path.is_file() else None
    if status is None:
        yield CheckResult.failed(TLS_KEY, f"{path} is no file", "Correct service.tls_key.")
        return
    if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
        yield CheckResult.failed(
            TLS_KEY,
            f"{path} does not belong to this user alone",
            f"Give it to the service's user alone: chown, and chmod 600 {path}",
        )
        return
    try:
        public_key = load_pem_private_key(path.read_bytes(), password=None).public_key()
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        remedy = "Put the key there as PKCS#8 in PEM, without a passphrase."
        yield CheckResult.failed(TLS_KEY, f"{path} holds no usable key", remedy)
        return
    try:
        certificate = read_certificate_file(settings.service.tls_certificate)
    except CertificateFileWrong:
        yield CheckResult.skipped(TLS_KEY, "the certificate cannot be read")
        return
    if public_key != certificate.public_key():
        yield CheckResult.failed(
            TLS_KEY,
            f"{path} is not the key of {settings.service.tls_certificate}",
            "Put certificate and key there that belong together, the leaf first in the chain.",
        )
    else:
        yield CheckResult.ok(TLS_KEY, "belongs to the TLS certificate")


def check_clock(places: Iterable[CertificatePlace], at: datetime) -> Iterator[CheckResult]:
    """The clock is not behind what has happened for certain."""
    remedy = "Set the clock, and have it kept by NTP (timedatectl set-ntp true)."
    begins = [when for place in places if (when := _begins(place.path)) is not None]
    if at.year < OLDEST_CLOCK_YEAR:
        yield CheckResult.failed(CLOCK, f"it says {at:%F %R} UTC", remedy)
    elif begins and at < max(begins):
        seen = f"it says {at:%F %R} UTC, before a certificate that begins {max(begins):%F %R}"
        yield CheckResult.failed(CLOCK, seen, remedy)
    else:
        yield CheckResult.ok(CLOCK, f"it says {at:%F %R} UTC")


def _begins(path: Path) -> datetime | None:
    try:
        return max(certificate.not_valid_before_utc for certificate in _read_all(path))
    except CertificateFileWrong:
        return None
