"""Compact JWS (RFC 7515) of one algorithm, ES256, and of one type each; read strictly."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.jwk import ECKey

from signer.errors import SignatureInvalid
from signer.receipts.errors import RequestMalformed, RequestSignatureInvalid
from signer.receipts.strict_json import JsonMalformed, parse_object
from signer.verify import verify_raw

ALGORITHM = "ES256"
MAX_JWS_BYTES = 8192
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class UnverifiedJws:
    """A compact JWS as it came, well-formed.

    Attributes:
        compact: its bytes; the payload's claims are read by `verify_jws` alone.
        key_id: the header's `kid`, of any JSON type.
        signing_input: what is signed: header and payload as they came (RFC 7515, section 5.2).
        signature: bytes of the third part, of any length.
    """

    compact: bytes = field(repr=False)
    key_id: object = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def thumbprint(key: ec.EllipticCurvePublicKey) -> str:
    """The key id of a key: its JWK thumbprint (RFC 7638) with SHA-256."""
    return ECKey.import_key(key).thumbprint()


def sign_jws(
    claims: Mapping[str, object], *, typ: str, private_key: ec.EllipticCurvePrivateKey
) -> str:
    """A compact JWS over claims, for the election system's side.

    Args:
        claims: JSON members.
        typ: the type, as the header states it.
        private_key: P-256.
    """
    key_id = thumbprint(private_key.public_key())
    header = {"alg": ALGORITHM, "typ": typ, "kid": key_id}
    payload = json.dumps(claims, sort_keys=True, separators=(",", ":")).encode()
    return jws.serialize_compact(header, payload, ECKey.import_key(private_key), [ALGORITHM])


def parse_jws(unverified_jws: bytes, *, typ: str, max_bytes: int = MAX_JWS_BYTES) -> UnverifiedJws:
    """Header and signature of a compact JWS; neither payload nor signature is looked at here.

    Args:
        unverified_jws: the request's bytes.
        typ: the type that the header must state.
        max_bytes: longest request of this type.

    Raises:
        RequestMalformed: another form, algorithm, type or header member.
    """
    if len(unverified_jws) > max_bytes:
        raise RequestMalformed("the request is too long")
    parts = unverified_jws.split(b".", 3)
    if len(parts) != 3:
        raise RequestMalformed("a compact JWS has three parts")
    header = _object(parts[0])
    if header.keys() != {"alg", "typ", "kid"}:
        raise RequestMalformed("the header has exactly alg, typ and kid")
    if header["alg"] != ALGORITHM or header["typ"] != typ:
        raise RequestMalformed(f"the header states {ALGORITHM} and {typ}")
    signing_input = unverified_jws[: -len(parts[2]) - 1]
    return UnverifiedJws(unverified_jws, header["kid"], signing_input, _decode(parts[2]))


def verify_jws(
    unverified_jws: UnverifiedJws, key: ec.EllipticCurvePublicKey, key_id: str
) -> Mapping[str, object]:
    """The claims of a compact JWS, if key id and signature are good (RFC 7518, section 3.4).

    What is not signed costs no more than to find that out.

    Args:
        unverified_jws: as it was parsed.
        key: P-256.
        key_id: its thumbprint.

    Raises:
        RequestSignatureInvalid: it is by another key, or not valid.
        RequestMalformed: it is valid, and its payload is not a JSON object.
    """
    if unverified_jws.key_id != key_id:
        raise RequestSignatureInvalid("the key id is not the election system's")
    try:
        verify_raw(key, unverified_jws.signing_input, unverified_jws.signature)
    except SignatureInvalid as error:
        raise RequestSignatureInvalid("the signature is not by the election system") from error
    return _object(unverified_jws.signing_input.partition(b".")[2])


def _object(part: bytes) -> dict[str, object]:
    try:
        return parse_object(_decode(part))
    except JsonMalformed as error:
        raise RequestMalformed("header and payload are JSON objects") from error


def _decode(part: bytes) -> bytes:
    """Base64url without padding, in its one form (RFC 7515, section 2)."""
    if _BASE64URL.fullmatch(part) is None:
        raise RequestMalformed("a part is not base64url")
    try:
        data = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    except binascii.Error as error:
        raise RequestMalformed("a part is not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part:
        raise RequestMalformed("a part is not the canonical base64url of its bytes")
    return data
