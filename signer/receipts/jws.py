"""Compact JWS (RFC 7515) of one algorithm, ES256, and of one type each; read strictly."""

import base64
import binascii
import json
import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from signer.receipts.errors import RequestMalformed, RequestSignatureInvalid
from signer.receipts.strict_json import JsonMalformed, parse_object

ALGORITHM = "ES256"
MAX_JWS_BYTES = 8192
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")


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


def parse_jws(unverified_jws: bytes, *, typ: str) -> dict[str, object]:
    """The claims that a compact JWS makes; its signature is not checked here.

    Args:
        unverified_jws: at most 8 KiB.
        typ: the type that the header must state.

    Raises:
        RequestMalformed: another form, algorithm, type or header member.
    """
    if len(unverified_jws) > MAX_JWS_BYTES:
        raise RequestMalformed("the request is too long")
    parts = unverified_jws.split(b".")
    if len(parts) != 3:
        raise RequestMalformed("a compact JWS has three parts")
    raw_header, raw_payload, _ = (_decode(part) for part in parts)
    try:
        header, payload = parse_object(raw_header), parse_object(raw_payload)
    except JsonMalformed as error:
        raise RequestMalformed("header and payload are JSON objects") from error
    if header.keys() != {"alg", "typ", "kid"}:
        raise RequestMalformed("the header has exactly alg, typ and kid")
    if header["alg"] != ALGORITHM or header["typ"] != typ:
        raise RequestMalformed(f"the header states {ALGORITHM} and {typ}")
    return payload


def verify_jws(unverified_jws: bytes, key: ec.EllipticCurvePublicKey) -> None:
    """Check a parsed compact JWS: key id and signature.

    Raises:
        RequestSignatureInvalid: it is by another key, or not valid.
    """
    try:
        signed = jws.deserialize_compact(unverified_jws, ECKey.import_key(key), [ALGORITHM])
    except (JoseError, ValueError) as error:
        raise RequestSignatureInvalid("the signature is not by the election system") from error
    if signed.headers().get("kid") != thumbprint(key):
        raise RequestSignatureInvalid("the key id is not the election system's")


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
