"""What is known of a key: from its token, from the settings, from its certificate's file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pkcs11_bridge.errors import TokenError
from pkcs11_bridge.key_attributes import KeyAttributes
from pkcs11_bridge.mechanisms import PublicKey, algorithm_of
from signer.payload import Purpose
from signer.rotation import KeyState
from webapi.settings_tokens import Zone
from webapi.trust_settings import CertificateFileWrong, read_certificate_file

UNLISTED = "unlisted"
"""The state of a key on the token that no setting names."""

MISSING = "missing"
"""Said of a key that a setting names and the token does not have."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A certificate's file.

    Attributes:
        path: where the service reads it.
        certificate: what is there; None if nothing, or nothing that can be read.
        is_of_key: whether it is the key's.
        is_unreadable: whether there is something that cannot be read.
    """

    path: Path
    certificate: x509.Certificate | None
    is_of_key: bool
    is_unreadable: bool

    @classmethod
    def read(cls, path: Path, key: PublicKey | None) -> "CertificateFacts":
        """Look at the file, whatever it holds."""
        try:
            found = read_certificate_file(path)
        except CertificateFileWrong as error:
            is_missing = isinstance(error.__cause__, FileNotFoundError)
            return cls(path, None, is_of_key=False, is_unreadable=not is_missing)
        is_of_key = key is not None and found.public_key() == key
        return cls(path, found, is_of_key=is_of_key, is_unreadable=False)

    def members(self) -> dict[str, object]:
        """For JSON."""
        found = self.certificate
        return {
            "path": str(self.path),
            "subject": None if found is None else found.subject.rfc4514_string(),
            "not_after": None if found is None else found.not_valid_after_utc.isoformat(),
            "is_of_key": self.is_of_key,
        }

    def line(self) -> str:
        """For people."""
        if self.is_unreadable:
            return f"UNREADABLE: {self.path}"
        if self.certificate is None:
            return f"none yet: {self.path}"
        if not self.is_of_key:
            return f"of ANOTHER key: {self.path}"
        until = f"{self.certificate.not_valid_after_utc:%F %R} UTC"
        return f"{self.certificate.subject.rfc4514_string()}, until {until}"


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """One key of the service.

    Attributes:
        purpose: what it signs; None for a key on the token that is none of ours.
        zone: which token.
        service: for whom it signs: the origin of the site.
        state: next, current, retired, or UNLISTED.
        uri: its PKCS#11 URI.
        attributes: as the token tells them; None if it has no such key.
        certificate: where it needs one.
    """

    purpose: Purpose | None
    zone: Zone
    service: str
    state: str
    uri: str
    attributes: KeyAttributes | None
    certificate: CertificateFacts | None

    @property
    def is_bad(self) -> bool:
        """Whether the service could not sign with a key that is to sign."""
        if self.state != KeyState.CURRENT:
            return False
        return (
            self.attributes is None
            or not self.attributes.stays_in_token
            or self.attributes.may_sign is False
        )

    def members(self) -> dict[str, object]:
        """For JSON."""
        attributes = self.attributes
        return {
            "purpose": self.purpose,
            "zone": self.zone,
            "for": self.service,
            "state": self.state,
            "uri": self.uri,
            "on_token": attributes is not None,
            **({} if attributes is None else attribute_members(attributes)),
            "certificate": None if self.certificate is None else self.certificate.members(),
        }

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"{self.purpose or '(of no purpose here)'}  {self.state}",
            f"  uri          {self.uri}",
        ]
        if self.attributes is None:
            told.append(f"  token        {MISSING}: [tokens.{self.zone}] has no such key")
        else:
            told += attribute_lines(self.attributes)
        told.append(f"  for          {self.service}, zone {self.zone}")
        if self.certificate is not None:
            told.append(f"  certificate  {self.certificate.line()}")
        return told


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of a key's SubjectPublicKeyInfo, lower-case hex, for people to compare."""
    return fingerprint_of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def fingerprint_of(der: bytes) -> str:
    """SHA-256 of anything's bytes, lower-case hex."""
    return hashlib.sha256(der).hexdigest()


def attribute_members(attributes: KeyAttributes) -> dict[str, object]:
    """Attributes and public half, for JSON; null is what the token does not say."""
    key = attributes.public_key
    return {
        "algorithm": _algorithm(key),
        "public_key_sha256": None if key is None else fingerprint(key),
        "sensitive": attributes.sensitive,
        "always_sensitive": attributes.always_sensitive,
        "extractable": attributes.extractable,
        "never_extractable": attributes.never_extractable,
        "local": attributes.local,
        "may_sign": attributes.may_sign,
    }


def attribute_lines(attributes: KeyAttributes) -> list[str]:
    """The same for people."""
    members = attribute_members(attributes)
    named = ("sensitive", "always_sensitive", "never_extractable", "local", "may_sign")
    told = ", ".join(f"{name.replace('_', '-')} {_said(members[name])}" for name in named)
    if not attributes.stays_in_token:
        told += "  <- REFUSED by the service: it can leave the token, or once could"
    return [
        f"  key          {members['algorithm']}, SHA-256 {members['public_key_sha256']}",
        f"  attributes   {told}",
    ]


def _said(value: object) -> str:
    return {True: "yes", False: "NO"}.get(bool(value), "") if value is not None else "not told"


def _algorithm(key: PublicKey | None) -> str | None:
    if key is None:
        return None
    try:
        return str(algorithm_of(key))
    except TokenError:
        return "not used here"
