"""An in-memory PKI of software keys: made in the test, dated by a fixed clock.

A `CertificateSpec` says every field; `dataclasses.replace` changes one, `issue` signs it again.
`development_like_pki()` is the whole chain root, national CA, citizen CA, leaf, OCSP delegate.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Literal

from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

#: The instant at which all unit tests happen.
NOW = datetime(2026, 11, 15, 12, 0, 0, tzinfo=UTC)

#: The certificate policy that the citizen profile asks for (the national OID of the reference PKI).
CITIZEN_POLICY = "2.16.496.1.101.1.2.8"

KeyKind = Literal["p256", "p384", "rsa2048", "rsa1024"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@cache
def private_key(name: str, kind: KeyKind = "p256") -> PrivateKey:
    """The key of this name, made once per process: RSA keys cost a tenth of a second each."""
    match kind:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "rsa2048":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "rsa1024":
            return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 -- the weak key that the checks must refuse


def distinguished_name(common_name: str, serial_number: str | None = None) -> x509.Name:
    """`C=MN, O=Tamga Test, CN=...`, with a `serialNumber` attribute (the person) if given."""
    attributes = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, "MN"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tamga Test"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ]
    if serial_number is not None:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number))
    return x509.Name(attributes)


def key_usage(*names: str) -> x509.KeyUsage:
    """A KeyUsage with just these bits, by their `cryptography` names."""
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    unknown = set(names) - set(bits)
    if unknown:
        raise ValueError(f"no such key usage: {unknown}")
    return x509.KeyUsage(**{bit: bit in names for bit in bits})


@dataclass(frozen=True)
class Issued:
    """A certificate and the private key of its subject."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)


@dataclass(frozen=True)
class CertificateSpec:
    """Every field of a certificate to be made; None leaves an extension out."""

    subject: x509.Name
    key: PrivateKey
    issuer: Issued | None = None  # None: self-signed
    serial: int | None = None  # None: derived from subject, so that runs are repeatable
    not_before: datetime = NOW - timedelta(days=30)
    not_after: datetime = NOW + timedelta(days=365)
    basic_constraints: x509.BasicConstraints | None = None
    key_usage: x509.KeyUsage | None = None
    extended_key_usage: tuple[x509.ObjectIdentifier, ...] = ()
    policies: tuple[str, ...] = ()
    ocsp_no_check: bool = False
    subject_key_identifier: bytes | None = None  # None: of the key, by RFC 5280's first method
    more_extensions: tuple[tuple[x509.ExtensionType, bool], ...] = field(default=())
    hash_algorithm: hashes.SHA256 | hashes.SHA384 = field(default_factory=hashes.SHA256)


def _extensions(spec: CertificateSpec) -> list[tuple[x509.ExtensionType, bool]]:
    signer = spec.key if spec.issuer is None else spec.issuer.key
    named = x509.SubjectKeyIdentifier.from_public_key(spec.key.public_key())
    if spec.subject_key_identifier is not None:
        named = x509.SubjectKeyIdentifier(spec.subject_key_identifier)
    found: list[tuple[x509.ExtensionType, bool]] = [
        (named, False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ]
    if spec.basic_constraints is not None:
        found.append((spec.basic_constraints, True))
    if spec.key_usage is not None:
        found.append((spec.key_usage, True))
    if spec.extended_key_usage:
        found.append((x509.ExtendedKeyUsage(spec.extended_key_usage), False))
    if spec.policies:
        information = [
            x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in spec.policies
        ]
        found.append((x509.CertificatePolicies(information), False))
    if spec.ocsp_no_check:
        found.append((x509.OCSPNoCheck(), False))
    return [*found, *spec.more_extensions]


def issue(spec: CertificateSpec) -> Issued:
    """Sign the certificate that the spec describes."""
    signer = spec.key if spec.issuer is None else spec.issuer.key
    issuer_name = spec.subject if spec.issuer is None else spec.issuer.certificate.subject
    serial = spec.serial or int.from_bytes(sha256(spec.subject.public_bytes()).digest()[:8]) | 1
    builder = (
        x509.CertificateBuilder()
        .subject_name(spec.subject)
        .issuer_name(issuer_name)
        .public_key(spec.key.public_key())
        .serial_number(serial)
        .not_valid_before(spec.not_before)
        .not_valid_after(spec.not_after)
    )
    for extension, critical in _extensions(spec):
        builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(signer, spec.hash_algorithm), spec.key)


def sign_bytes(key: PrivateKey, message: bytes) -> bytes:
    """A SHA-256 signature as X.509 carries it (ECDSA in DER, RSA PKCS#1 v1.5)."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def edited(
    issued: Issued, issuer: Issued, edit: Callable[[asn1_x509.TbsCertificate], None]
) -> bytes:
    """The certificate's DER with its signed part edited and signed again by the issuer.

    For what no certificate builder will write: serial 0, version 2, duplicate extensions.
    """
    loaded = asn1_x509.Certificate.load(issued.der)
    tbs = loaded["tbs_certificate"].copy()
    edit(tbs)
    tbs_der = tbs.dump(force=True)
    certificate = asn1_x509.Certificate(
        {
            "tbs_certificate": asn1_x509.TbsCertificate.load(tbs_der),
            "signature_algorithm": loaded["signature_algorithm"].copy(),
            "signature_value": core.OctetBitString(sign_bytes(issuer.key, tbs_der)),
        }
    )
    return bytes(certificate.dump())


def signed_with_sha1(issued: Issued, issuer: Issued) -> bytes:
    """The certificate's DER with a valid ECDSA signature over SHA-1, which no builder makes."""
    loaded = asn1_x509.Certificate.load(issued.der)
    tbs = loaded["tbs_certificate"].copy()
    tbs["signature"] = {"algorithm": "sha1_ecdsa"}
    tbs_der = tbs.dump(force=True)
    assert isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    signature = issuer.key.sign(tbs_der, ec.ECDSA(hashes.SHA1()))  # noqa: S303 -- the weak signature that the checks must refuse
    certificate = asn1_x509.Certificate(
        {
            "tbs_certificate": asn1_x509.TbsCertificate.load(tbs_der),
            "signature_algorithm": {"algorithm": "sha1_ecdsa"},
            "signature_value": core.OctetBitString(signature),
        }
    )
    return bytes(certificate.dump())


#: BasicConstraints with the default written out, `SEQUENCE { BOOLEAN FALSE }`: not DER, yet in use.
EXPLICIT_CA_FALSE = x509.UnrecognizedExtension(
    ExtensionOID.BASIC_CONSTRAINTS, bytes.fromhex("3003010100")
)


def authority_spec(
    common_name: str, issuer: Issued | None, kind: KeyKind = "p256"
) -> CertificateSpec:
    """A CA: any policy, certSign and crlSign, ten years."""
    return CertificateSpec(
        subject=distinguished_name(common_name),
        key=private_key(common_name, kind),
        issuer=issuer,
        not_before=NOW - timedelta(days=1000),
        not_after=NOW + timedelta(days=2650),
        basic_constraints=x509.BasicConstraints(ca=True, path_length=None),
        key_usage=key_usage("key_cert_sign", "crl_sign", "digital_signature"),
        policies=() if issuer is None else ("2.5.29.32.0",),
    )


def citizen_spec(
    issuer: Issued, common_name: str = "Bat Bold", kind: KeyKind = "p256"
) -> CertificateSpec:
    """An authentication certificate as a citizen's card has it."""
    return CertificateSpec(
        subject=distinguished_name(common_name, serial_number="PNOMN-123456789012"),
        key=private_key(common_name, kind),
        issuer=issuer,
        basic_constraints=x509.BasicConstraints(ca=False, path_length=None),
        key_usage=key_usage("digital_signature"),
        extended_key_usage=(ExtendedKeyUsageOID.CLIENT_AUTH,),
        policies=(CITIZEN_POLICY,),
    )


def delegate_spec(issuer: Issued, common_name: str = "OCSP delegate") -> CertificateSpec:
    """A short-lived OCSP responder certificate with nocheck, issued directly by the CA."""
    return CertificateSpec(
        subject=distinguished_name(common_name),
        key=private_key(common_name),
        issuer=issuer,
        not_before=NOW - timedelta(days=1),
        not_after=NOW + timedelta(days=7),
        basic_constraints=x509.BasicConstraints(ca=False, path_length=None),
        key_usage=key_usage("digital_signature"),
        extended_key_usage=(ExtendedKeyUsageOID.OCSP_SIGNING,),
        ocsp_no_check=True,
    )


def lists_spec(authority: Issued, issuer: Issued, common_name: str = "lists") -> CertificateSpec:
    """The certificate of the key of a CA's revocation lists: it bears the CA's name."""
    return CertificateSpec(
        subject=authority.certificate.subject,
        key=private_key(common_name),
        issuer=issuer,
        basic_constraints=x509.BasicConstraints(ca=False, path_length=None),
        key_usage=key_usage("crl_sign"),
    )


@dataclass(frozen=True)
class Pki:
    """A whole chain; `leaf_spec` and `delegate_spec` are there to change one field of."""

    root: Issued
    national_ca: Issued
    citizen_ca: Issued
    leaf: Issued
    leaf_spec: CertificateSpec
    delegate: Issued
    delegate_spec: CertificateSpec

    def leaf_with(self, **changes: object) -> Issued:
        """The leaf with these fields of its spec changed, signed again."""
        return issue(replace(self.leaf_spec, **changes))  # type: ignore[arg-type]  # names and types are CertificateSpec's

    def delegate_with(self, **changes: object) -> Issued:
        """The OCSP delegate with these fields of its spec changed, signed again."""
        return issue(replace(self.delegate_spec, **changes))  # type: ignore[arg-type]  # names and types are CertificateSpec's


@cache
def development_like_pki(kind: KeyKind = "p256") -> Pki:
    """Root, national CA, citizen CA, leaf and delegate; every key but the CAs' of this kind."""
    root = issue(authority_spec("Test National Root CA", None))
    national_ca = issue(authority_spec("Test National Issuing CA", root))
    citizen_ca = issue(authority_spec("Test Citizen CA", national_ca))
    leaf_spec = citizen_spec(citizen_ca, f"Bat Bold {kind}", kind)
    responder_spec = delegate_spec(citizen_ca)
    return Pki(
        root=root,
        national_ca=national_ca,
        citizen_ca=citizen_ca,
        leaf=issue(leaf_spec),
        leaf_spec=leaf_spec,
        delegate=issue(responder_spec),
        delegate_spec=responder_spec,
    )
