"""The DER of an OCSPResponse (RFC 6960 section 4.2.1), written by hand.

`cryptography`'s builder dates answers by the wall clock; here the time is an argument. The shape
is fixed: one SingleResponse, byKey, nextUpdate always, the nonce as the only extension.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import assert_never

from ocsp.responder.statuses import (
    IssuedGood,
    IssuedRevoked,
    IssuedStatus,
    IssuedSuspended,
    NotIssued,
    RevocationReason,
)

_INTEGER, _BIT_STRING, _OCTET_STRING, _OID, _ENUMERATED = 0x02, 0x03, 0x04, 0x06, 0x0A
_GENERALIZED_TIME, _SEQUENCE = 0x18, 0x30

_BASIC = bytes.fromhex("06092b0601050507300101")  # id-pkix-ocsp-basic
_NONCE = bytes.fromhex("06092b0601050507300102")  # id-pkix-ocsp-nonce

HASH_OIDS = {
    "sha1": bytes.fromhex("06052b0e03021a"),
    "sha256": bytes.fromhex("0609608648016503040201"),
    "sha384": bytes.fromhex("0609608648016503040202"),
    "sha512": bytes.fromhex("0609608648016503040203"),
}
"""Encoded OIDs of the CertID hashes that are understood."""

ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
"""AlgorithmIdentifier ecdsa-with-SHA256, without parameters (RFC 5758 section 3.2)."""

RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")
"""AlgorithmIdentifier sha256WithRSAEncryption, with NULL (RFC 4055 section 5)."""

_REASON_CODES = {
    RevocationReason.UNSPECIFIED: 0,
    RevocationReason.KEY_COMPROMISE: 1,
    RevocationReason.CA_COMPROMISE: 2,
    RevocationReason.AFFILIATION_CHANGED: 3,
    RevocationReason.SUPERSEDED: 4,
    RevocationReason.CESSATION_OF_OPERATION: 5,
    RevocationReason.PRIVILEGE_WITHDRAWN: 9,
}
_CERTIFICATE_HOLD = 6


def tlv(tag: int, *contents: bytes) -> bytes:
    """Tag, DER length and contents."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def _explicit(number: int, content: bytes) -> bytes:
    return tlv(0xA0 | number, content)


@lru_cache(maxsize=1_024)
def generalized_time(instant: datetime) -> bytes:
    """YYYYMMDDHHMMSSZ, without fractions (RFC 9919)."""
    return tlv(_GENERALIZED_TIME, instant.astimezone(UTC).strftime("%Y%m%d%H%M%SZ").encode())


def cert_id(hash_name: str, name_hash: bytes, key_hash: bytes, serial: int) -> bytes:
    """A CertID; the hash's parameters are NULL, as most clients write them."""
    return tlv(
        _SEQUENCE,
        tlv(_SEQUENCE, HASH_OIDS[hash_name], b"\x05\x00"),
        tlv(_OCTET_STRING, name_hash),
        tlv(_OCTET_STRING, key_hash),
        tlv(_INTEGER, serial.to_bytes(serial.bit_length() // 8 + 1)),
    )


def cert_status(status: IssuedStatus) -> bytes:
    """The CertStatus.

    A serial number that was never issued is answered "unknown". The other lawful answer, "revoked"
    since 1970 with certificateHold, obliges us to add the extended-revoke extension (RFC 6960
    section 4.4.8), and RFC 9919 forbids every extension but the nonce.
    """
    match status:
        case IssuedGood():
            return b"\x80\x00"
        case IssuedRevoked(at, reason):
            return _revoked(at, _REASON_CODES[reason])
        case IssuedSuspended(since):
            return _revoked(since, _CERTIFICATE_HOLD)
        case NotIssued():
            return b"\x82\x00"
        case _:
            assert_never(status)


def _revoked(at: datetime, reason: int) -> bytes:
    # Reason 0 is better left out (RFC 5280 section 5.3.1).
    code = _explicit(0, tlv(_ENUMERATED, bytes((reason,)))) if reason else b""
    return tlv(0xA1, generalized_time(at), code)


def response_data(
    *,
    key_hash: bytes,
    identifier: bytes,
    status: IssuedStatus,
    this_update: datetime,
    next_update: datetime,
    nonce: bytes | None,
) -> bytes:
    """The bytes that are signed (ResponseData).

    Args:
        key_hash: SHA-1 of the responder's key (byKey).
        identifier: encoded CertID.
        status: of that certificate.
        this_update: also producedAt: the answer is made for this request.
        next_update: end of its use.
        nonce: of the request, None if it had none.
    """
    single = tlv(
        _SEQUENCE,
        identifier,
        cert_status(status),
        generalized_time(this_update),
        _explicit(0, generalized_time(next_update)),
    )
    extensions = b""
    if nonce is not None:
        value = tlv(_OCTET_STRING, tlv(_OCTET_STRING, nonce))
        extensions = _explicit(1, tlv(_SEQUENCE, tlv(_SEQUENCE, _NONCE, value)))
    return tlv(
        _SEQUENCE,
        _explicit(2, tlv(_OCTET_STRING, key_hash)),
        generalized_time(this_update),
        tlv(_SEQUENCE, single),
        extensions,
    )


def successful(data: bytes, algorithm: bytes, signature: bytes, certificate: bytes) -> bytes:
    """A successful OCSPResponse: signed data, its signature and the responder's certificate."""
    basic = tlv(
        _SEQUENCE,
        data,
        algorithm,
        tlv(_BIT_STRING, b"\x00", signature),
        _explicit(0, tlv(_SEQUENCE, certificate)),
    )
    return tlv(
        _SEQUENCE,
        tlv(_ENUMERATED, b"\x00"),
        _explicit(0, tlv(_SEQUENCE, _BASIC, tlv(_OCTET_STRING, basic))),
    )


def unsuccessful(code: int) -> bytes:
    """An unsigned OCSPResponse with an error status (RFC 6960 section 4.2.1)."""
    return tlv(_SEQUENCE, tlv(_ENUMERATED, bytes((code,))))
