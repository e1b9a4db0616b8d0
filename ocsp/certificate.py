"""One certificate read strictly, before anybody judges what it says.

`cryptography` refuses some certificates that are in use (an explicit cA=FALSE) and accepts some
that RFC 5280 forbids (serial 0, version 1). Here both become one verdict: a `ReadCertificate` or
`CertificateMalformed`, never a foreign exception.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

from ocsp.errors import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotYetValid,
    KeyTooWeak,
    PathMember,
)

MAX_CERTIFICATE_BYTES = 16_384
"""Larger ones are refused unread; a citizen's certificate has about 1,500 bytes."""

MAX_SERIAL_BITS = 160
"""RFC 5280 section 4.1.2.2: at most 20 octets."""

_EXPLICIT_FALSE = bytes.fromhex("3003010100")
_EMPTY_SEQUENCE = bytes.fromhex("3000")

_UNREADABLE = (
    ValueError,
    TypeError,  # a name attribute whose string type does not fit
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UserWarning,  # a number below one, a name of no length: where warnings are errors
)
"""What a hostile certificate raises in `cryptography`."""

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class ReadCertificate:
    """A well-formed certificate: read, not judged. Nothing about trust is proved.

    It is its bytes: two are equal if their DER is, as all else follows from that.

    Attributes:
        der: the bytes as they came.
        certificate: the parsed form. Its own `.extensions` may raise; use `extension`.
        extensions: all extensions, no two alike.
        public_key: of a kind that can be used here at all (EC or RSA).
        issuer_name: DER of the issuer's name.
        policies: dotted OIDs of certificatePolicies; empty if the extension is absent.
    """

    der: bytes
    certificate: x509.Certificate = field(compare=False)
    extensions: x509.Extensions = field(compare=False)
    public_key: PublicKey = field(compare=False)
    issuer_name: bytes = field(init=False, repr=False, compare=False)
    policies: frozenset[str] = field(init=False, repr=False, compare=False)
    _values: Mapping[type[x509.ExtensionType], x509.ExtensionType] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        # What many checks of one decision ask for is looked up once.
        set_field = object.__setattr__  # the only way to derive fields of a frozen dataclass
        set_field(self, "issuer_name", self.certificate.issuer.public_bytes())
        values = {type(extension.value): extension.value for extension in self.extensions}
        set_field(self, "_values", values)
        named = self.extension(x509.CertificatePolicies) or ()
        set_field(self, "policies", frozenset(p.policy_identifier.dotted_string for p in named))

    def extension(self, kind: type[_Kind]) -> _Kind | None:
        """The value of the extension of a kind that `cryptography` knows, None if it is absent."""
        value = self._values.get(kind)
        return value if isinstance(value, kind) else None

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal SHA-256 of the DER."""
        return sha256(self.der).hexdigest()

    @property
    def authority(self) -> tuple[bytes, bytes]:
        """What identifies a CA: subject and public key, both in DER (never the name alone)."""
        return (
            self.certificate.subject.public_bytes(),
            self.public_key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        )

    @property
    def is_ca(self) -> bool:
        """BasicConstraints says cA=TRUE."""
        constraints = self.extension(x509.BasicConstraints)
        return constraints is not None and constraints.ca


def read_certificate(unverified_der: bytes) -> ReadCertificate:
    """Parse one certificate and check its form (RFC 5280 sections 4.1 and 4.2).

    Args:
        unverified_der: DER, at most MAX_CERTIFICATE_BYTES.

    Raises:
        CertificateMalformed: it is not DER, not version 3, has a serial number <= 0 or longer than
            20 octets, an extension twice, or an unreadable extension.
        KeyTooWeak: the key is neither EC on a known curve nor RSA (rsaEncryption).
    """
    if len(unverified_der) > MAX_CERTIFICATE_BYTES:
        raise CertificateMalformed(f"larger than {MAX_CERTIFICATE_BYTES} bytes")
    certificate = _load(unverified_der)
    if certificate.version is not x509.Version.v3:
        raise CertificateMalformed("not version 3")
    if certificate.serial_number <= 0 or certificate.serial_number.bit_length() > MAX_SERIAL_BITS:
        raise CertificateMalformed("serial number is not a positive number of at most 20 octets")
    return ReadCertificate(
        der=unverified_der,
        certificate=certificate,
        extensions=_extensions(certificate, unverified_der),
        public_key=_public_key(certificate),
    )


def _load(unverified_der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(unverified_der)
        # Names, dates and signature algorithm are parsed lazily: have them fail here, if ever.
        _ = (certificate.subject, certificate.issuer, certificate.signature_hash_algorithm)
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    except _UNREADABLE as e:
        raise CertificateMalformed(f"not an X.509 certificate: {e}") from e
    return certificate


def _extensions(certificate: x509.Certificate, der: bytes) -> x509.Extensions:
    try:
        return certificate.extensions
    except x509.DuplicateExtension as e:
        raise CertificateMalformed(f"extension {e.oid.dotted_string} occurs twice") from e
    except _UNREADABLE as e:
        normalised = _without_explicit_false(der)
        if normalised is None:
            raise CertificateMalformed("an extension cannot be read") from e
    try:
        return x509.load_der_x509_certificate(normalised).extensions
    except (*_UNREADABLE, x509.DuplicateExtension) as e:
        raise CertificateMalformed("an extension cannot be read") from e


def _without_explicit_false(der: bytes) -> bytes | None:
    """The certificate with an explicit default cA=FALSE left out, or None if it has none.

    Some CAs encode the default, which DER forbids. The result serves to read the extensions only:
    it has other signed bytes, and signatures are checked over the original.
    """
    try:
        loaded = asn1_x509.Certificate.load(der)
        changed = False
        for extension in loaded["tbs_certificate"]["extensions"]:
            value = extension["extn_value"]
            if (
                extension["extn_id"].native == "basic_constraints"
                and value.contents == _EXPLICIT_FALSE
            ):
                extension["extn_value"] = core.ParsableOctetString(_EMPTY_SEQUENCE)
                changed = True
        return bytes(loaded.dump(force=True)) if changed else None
    except (ValueError, TypeError, KeyError):
        return None


def _public_key(certificate: x509.Certificate) -> PublicKey:
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as e:
        raise KeyTooWeak("the key's algorithm or curve is not known") from e
    except ValueError as e:
        raise CertificateMalformed("the public key cannot be read") from e
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise KeyTooWeak(f"{type(key).__name__} is not accepted")
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        # `cryptography` reads it as any RSA key, and forgets that it signs by RSASSA-PSS alone, by
        # these parameters (RFC 4055 sections 1.2 and 3.3).
        raise KeyTooWeak("a key that is restricted to RSASSA-PSS is not accepted")
    return key


def check_key_strength(
    key: PublicKey, *, min_rsa_bits: int, allowed_curves: frozenset[str]
) -> None:
    """Refuse keys below the floor.

    Args:
        key: the key.
        min_rsa_bits: least modulus length in bits.
        allowed_curves: names as `cryptography` has them ("secp256r1").

    Raises:
        KeyTooWeak: as the name says; also for an RSA exponent below 65537 or even.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in allowed_curves:
            raise KeyTooWeak(f"curve {key.curve.name} is not accepted")
        return
    if key.key_size < min_rsa_bits:
        raise KeyTooWeak(f"RSA key has {key.key_size} bits, less than {min_rsa_bits}")
    exponent = key.public_numbers().e
    if exponent < 65_537 or exponent % 2 == 0:
        raise KeyTooWeak(f"RSA exponent {exponent} is not accepted")


def check_validity(certificate: x509.Certificate, member: PathMember, at: datetime) -> None:
    """Refuse a certificate outside its validity period; both ends are inside (RFC 5280 4.1.2.5).

    Raises:
        CertificateNotYetValid, CertificateExpired: with the instant.
    """
    if at < certificate.not_valid_before_utc:
        raise CertificateNotYetValid(member, certificate.not_valid_before_utc)
    if at > certificate.not_valid_after_utc:
        raise CertificateExpired(member, certificate.not_valid_after_utc)
