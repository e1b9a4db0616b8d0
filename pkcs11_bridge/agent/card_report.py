"""What a card is, without its PIN: profile, module, certificates with their purposes, PIN state."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pkcs11_bridge.agent import certificate_choice
from pkcs11_bridge.agent.opensc_conf import reset_on_disconnect
from pkcs11_bridge.card import open_card
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.readers import Reader, pin_tries_left


class Purpose(StrEnum):
    """What a certificate says that it is for."""

    LOGIN = "login"
    SIGNING = "signing documents"
    OTHER = "other"
    UNREADABLE = "unreadable"


class Standing(StrEnum):
    """The certificate's validity by this computer's clock; nobody was asked about revocation."""

    IN_TIME = "in time"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"


@dataclass(frozen=True, slots=True)
class CertificateReport:
    """One certificate, not verified by anybody; the details are None where it cannot be read."""

    label: str
    id: str
    """CKA_ID, hexadecimal."""
    purposes: tuple[Purpose, ...]
    key: str | None = None
    """Kind and size, for example "RSA 2048"."""
    subject: str | None = None
    issuer: str | None = None
    serial: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class CardReport:
    """One card in one reader."""

    reader: str
    atr: str
    module: Path
    tries_left: int | None
    """None: the card does not tell."""
    pin_pad: bool
    """The PIN is typed on the reader."""
    certificates: tuple[CertificateReport, ...]


def look_at_card(reader: Reader, module: Path, at: datetime) -> CardReport:
    """Read a card through its module.

    Args:
        reader: as ``wait_for_card`` found it.
        module: the card's PKCS#11 module.
        at: now, timezone-aware.

    Raises:
        TokenError: as ``open_card``.
    """
    tries = pin_tries_left(reader.name)
    with reset_on_disconnect(), open_card(module, reader.name) as card:
        stored = card.certificates()
        slots = card.slot_ids()
        if tries is None and len(slots) == 1:
            tries = card.tries_left(slots[0])
        pin_pad = any(card.has_pin_pad(slot_id) for slot_id in slots)
    certificates = tuple(describe(certificate, at) for certificate in stored)
    atr = (reader.atr or b"").hex()
    return CardReport(reader.name, atr, module, tries, pin_pad, certificates)


def describe(stored: TokenCertificate, at: datetime) -> CertificateReport:
    """A certificate for people; what cannot be read is told as such."""
    identifier = stored.id.hex()
    label = certificate_choice.printable(stored.label)
    try:
        certificate = x509.load_der_x509_certificate(stored.unverified_der)
        return CertificateReport(
            label=label,
            id=identifier,
            purposes=_purposes(stored),
            key=_key(certificate),
            subject=certificate_choice.common_name(certificate.subject),
            issuer=certificate_choice.common_name(certificate.issuer),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            standing=_standing(certificate, at),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return CertificateReport(label, identifier, (Purpose.UNREADABLE,))


def _purposes(stored: TokenCertificate) -> tuple[Purpose, ...]:
    key_usage, _ = certificate_choice.usages(stored.unverified_der)
    found = []
    if certificate_choice.is_for_authentication(stored):
        found.append(Purpose.LOGIN)
    if "non_repudiation" in key_usage:
        found.append(Purpose.SIGNING)
    return tuple(found) or (Purpose.OTHER,)


def _standing(certificate: x509.Certificate, at: datetime) -> Standing:
    if at > certificate.not_valid_after_utc:
        return Standing.EXPIRED
    if at < certificate.not_valid_before_utc:
        return Standing.NOT_YET_VALID
    return Standing.IN_TIME


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__
