"""Statements that persons sign: JWS (RFC 7515) in its general JSON form, with their certificates.

    {"payload": base64url(canonical JSON),
     "signatures": [{"protected": base64url({"alg", "signed_at", "typ", "x5c"}), "signature"}, …]}

A person's card or key signs; the service's keys never do. `signed_at` is what the signer's
computer said. The payload is JSON in one form: sorted members, no spaces, integers only.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from signer.errors import (
    SignaturesMissing,
    SignerNotTrusted,
    StatementMalformed,
    StatementSignatureInvalid,
)
from signer.receipts.strict_json import JsonMalformed, parse_object
from signer.verify import raw_to_der

TYPE = "tamga-statement+json"
MAX_STATEMENT_BYTES = 1_000_000
MAX_SIGNATURES = 8
MIN_RSA_BITS = 2048
_HEADER = frozenset({"alg", "signed_at", "typ", "x5c"})
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SEAL = object()

Found = TypeVar("Found", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class UnverifiedSignature:
    """One signature as it came, well-formed.

    Attributes:
        protected: the header, base64url.
        algorithm: ES256 or RS256.
        certificate: the signer's, from the header.
        signed_at: as the header says, aware UTC.
        signature: ES256: r || s, 64 bytes; RS256: as long as the modulus.
    """

    protected: str
    algorithm: str
    certificate: x509.Certificate
    signed_at: datetime
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnverifiedStatement:
    """A statement as it came, well-formed; nothing in it is believed yet.

    Attributes:
        payload: base64url.
        unverified_members: what it says.
        signatures: any number, up to MAX_SIGNATURES.
    """

    payload: str
    unverified_members: Mapping[str, object]
    signatures: tuple[UnverifiedSignature, ...]

    def serialise(self) -> bytes:
        """The file."""
        signatures = [
            {"protected": one.protected, "signature": _encode(one.signature)}
            for one in self.signatures
        ]
        document = {"payload": self.payload, "signatures": signatures}
        return (json.dumps(document, indent=1) + "\n").encode()


@dataclass(frozen=True, slots=True)
class Signer:
    """A person who signed, by a certificate of a trusted authority.

    Attributes:
        name: the subject's common name.
        certificate: in time at `signed_at`.
        signed_at: as the signer's computer said.
    """

    name: str
    certificate: x509.Certificate
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement with enough signatures of different persons; made by `verify_statement` alone.

    Attributes:
        members: what it says.
        signers: who signed.
    """

    members: Mapping[str, object]
    signers: tuple[Signer, ...]
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "a SignedStatement is made by verify_statement() alone"
            raise TypeError(msg)


def draft_statement(members: Mapping[str, object]) -> UnverifiedStatement:
    """A statement that nobody has signed.

    Args:
        members: JSON members of text, integers, flags, null, lists and objects.
    """
    return UnverifiedStatement(_encode(_canonical(members)), dict(members), ())


def read_statement(unverified_file: bytes) -> UnverifiedStatement:
    """Read a statement's file.

    Raises:
        StatementMalformed: it is none, strictly.
    """
    if len(unverified_file) > MAX_STATEMENT_BYTES:
        raise StatementMalformed("the statement is too long")
    try:
        document = parse_object(unverified_file)
    except JsonMalformed as error:
        raise StatementMalformed("the statement is not a JSON object") from error
    signatures = document.get("signatures")
    if document.keys() != {"payload", "signatures"} or not isinstance(signatures, list):
        raise StatementMalformed("a statement has a payload and a list of signatures")
    if len(signatures) > MAX_SIGNATURES:
        raise StatementMalformed("a statement has too many signatures")
    payload = document["payload"]
    members = _object(payload)
    if not isinstance(payload, str) or _encode(_canonical(members)) != payload:
        raise StatementMalformed("the payload is not in its one form")
    return UnverifiedStatement(payload, members, tuple(_signature(one) for one in signatures))


def protected_header(certificate: x509.Certificate, *, at: datetime) -> str:
    """The header of a signature to be made, base64url.

    Args:
        certificate: the signer's, of a P-256 or an RSA key.
        at: now, aware UTC.

    Raises:
        SignerNotTrusted: a key of another kind.
    """
    header = {
        "alg": _algorithm(certificate),
        "signed_at": at.strftime(_TIME),
        "typ": TYPE,
        "x5c": [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()],
    }
    return _encode(_canonical(header))


def signing_input(statement: UnverifiedStatement, protected: str) -> bytes:
    """The bytes to sign with SHA-256 (RFC 7515, section 5.1): ECDSA, or RSA PKCS#1 v1.5."""
    return f"{protected}.{statement.payload}".encode("ascii")


def with_signature(
    statement: UnverifiedStatement, protected: str, signature: bytes
) -> UnverifiedStatement:
    """The statement with one signature more, which was verified.

    Raises:
        StatementSignatureInvalid: it does not verify.
        StatementMalformed: there are too many.
    """
    made = _signature({"protected": protected, "signature": _encode(signature)})
    _verify_signature(statement, made)
    if len(statement.signatures) == MAX_SIGNATURES:
        raise StatementMalformed("a statement has too many signatures")
    return UnverifiedStatement(
        statement.payload, statement.unverified_members, (*statement.signatures, made)
    )


def verify_statement(
    statement: UnverifiedStatement, authorities: Sequence[x509.Certificate], *, least: int
) -> SignedStatement:
    """Verify every signature, and that there are enough.

    1. Each verifies under its certificate's key, by the one algorithm of that kind of key.
    2. Each certificate is an end entity's, meant for signatures, in time at `signed_at`, and
       issued directly by one of the authorities, a CA that was in time too; or it is one of them,
       self-signed: a person's own certificate vouches for nobody else.
    3. No key and no subject signed twice.
    4. At least `least` persons signed.

    Args:
        statement: as it was read.
        authorities: certificates of those who say who a person is; from another source than the
            statement.
        least: how many must have signed, at least 1.

    Raises:
        StatementSignatureInvalid, SignerNotTrusted, SignaturesMissing: 1; 2 and 3; 4.
    """
    if least < 1:
        msg = "a statement that nobody signed proves nothing"
        raise ValueError(msg)
    signers = []
    for one in statement.signatures:
        _verify_signature(statement, one)
        _require_trusted(one, authorities)
        signers.append(Signer(common_name(one.certificate), one.certificate, one.signed_at))
    if len({signer.certificate.subject for signer in signers}) < len(signers) or any(
        a.certificate.public_key() == b.certificate.public_key()
        for index, a in enumerate(signers)
        for b in signers[:index]
    ):
        raise SignerNotTrusted("one person signed twice")
    if len(signers) < least:
        raise SignaturesMissing(f"{len(signers)} person(s) signed; {least} must")
    return SignedStatement(statement.unverified_members, tuple(signers), _SEAL)


def common_name(certificate: x509.Certificate) -> str:
    """The subject's one common name; raises SignerNotTrusted."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise SignerNotTrusted("a signer's certificate names one person")
    return str(names[0].value)


def _verify_signature(statement: UnverifiedStatement, one: UnverifiedSignature) -> None:
    data = signing_input(statement, one.protected)
    key = one.certificate.public_key()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and len(one.signature) == 64:
            key.verify(raw_to_der(one.signature), data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(one.signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            raise StatementSignatureInvalid("the signature has another length")
    except InvalidSignature as error:
        raise StatementSignatureInvalid("a signature is not by its certificate's key") from error


def _require_trusted(one: UnverifiedSignature, authorities: Sequence[x509.Certificate]) -> None:
    certificate = one.certificate
    if not _is_in_time(certificate, one.signed_at):
        raise SignerNotTrusted("a signer's certificate was not in time")
    try:
        extensions = certificate.extensions
        constraints = _extension(extensions, x509.BasicConstraints)
        usage = _extension(extensions, x509.KeyUsage)
    except ValueError as error:
        raise SignerNotTrusted("a signer's certificate is malformed") from error
    if constraints is not None and constraints.ca:
        raise SignerNotTrusted("an authority's certificate is no person's")
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise SignerNotTrusted("a signer's certificate is not meant for signatures")
    for authority in authorities:
        if certificate != authority and not _may_issue(authority):
            continue
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if _is_in_time(authority, one.signed_at):
            return
    raise SignerNotTrusted(
        f"no given authority issued the certificate of {common_name(certificate)}"
    )


def _may_issue(authority: x509.Certificate) -> bool:
    """Whether it is a CA's that signs certificates (RFC 5280, sections 4.2.1.3 and 4.2.1.9)."""
    try:
        extensions = authority.extensions
        constraints = _extension(extensions, x509.BasicConstraints)
        usage = _extension(extensions, x509.KeyUsage)
    except ValueError:
        return False
    return constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)


def _extension(extensions: x509.Extensions, kind: type[Found]) -> Found | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_in_time(certificate: x509.Certificate, at: datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _signature(one: object) -> UnverifiedSignature:
    if not isinstance(one, dict) or one.keys() != {"protected", "signature"}:
        raise StatementMalformed("a signature has a protected header and its bytes")
    protected = one["protected"]
    header = _object(protected)
    certificates = header.get("x5c")
    if header.keys() != _HEADER or header["typ"] != TYPE or not isinstance(protected, str):
        raise StatementMalformed("the header has exactly alg, signed_at, typ and x5c")
    try:
        (encoded,) = _list(certificates)
        der = base64.b64decode(_text(encoded), validate=True)
        certificate = x509.load_der_x509_certificate(der)
        signed_at = datetime.strptime(_text(header["signed_at"]), _TIME).replace(tzinfo=UTC)
        expected = _algorithm(certificate)
    except (ValueError, UnsupportedAlgorithm, SignerNotTrusted) as error:
        raise StatementMalformed("a signature's header cannot be read") from error
    if header["alg"] != expected:
        raise StatementMalformed(f"the certificate's key signs with {expected}")
    return UnverifiedSignature(
        protected, expected, certificate, signed_at, _decode(one["signature"])
    )


def _algorithm(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return "RS256"
    raise SignerNotTrusted("statements are signed by P-256 keys, or RSA of 2048 bits and more")


def _canonical(members: Mapping[str, object]) -> bytes:
    return json.dumps(
        members, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def _object(text: object) -> dict[str, object]:
    try:
        return parse_object(_decode(text))
    except JsonMalformed as error:
        raise StatementMalformed("payload and headers are JSON objects") from error


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: object) -> bytes:
    """Base64url without padding, in its one form (RFC 7515, section 2)."""
    try:
        encoded = _text(text)
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise StatementMalformed("a part is not base64url") from error
    if _encode(data) != encoded:
        raise StatementMalformed("a part is not the canonical base64url of its bytes")
    return data


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("not a list")  # noqa: TRY004 - told like any other wrong value
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not text")  # noqa: TRY004 - told like any other wrong value
    return value
