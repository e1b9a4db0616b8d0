"""One OCSP request: one certificate, the nonce as its only extension, unsigned.

RFC 6960 section 4.1, RFC 9919 section 3.1 (one Request, no singleRequestExtensions, no
requestorName), RFC 9654 (nonce).
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.config import CertIdHash, NonceMode

NONCE_BYTES = 32
"""RFC 9654 section 2.1: clients use at least 32 octets."""

CONTENT_TYPE = "application/ocsp-request"

MAX_GET_URL = 255
"""Characters of a whole URL up to which GET is used (RFC 6960 appendix A.1)."""


@dataclass(frozen=True, slots=True)
class CertId:
    """The four fields that name a certificate to a responder (RFC 6960 section 4.1.1).

    Attributes:
        hash_name: "sha1" or "sha256" here; whatever an answer says there.
        issuer_name_hash: over the DER of the issuer's name.
        issuer_key_hash: over the content of the issuer key's BIT STRING.
        serial_number: of the certificate.
    """

    hash_name: str
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial_number: int


@dataclass(frozen=True, slots=True)
class OcspQuery:
    """A request and what its answer must match.

    Attributes:
        der: the encoded OCSPRequest.
        cert_id: of the one certificate asked about.
        nonce: the nonce sent, None if the issuer's profile says off.
        certificate: the one asked about.
    """

    der: bytes
    cert_id: CertId
    nonce: bytes | None
    certificate: x509.Certificate = field(repr=False)


def cert_id_of(holder: x509_ocsp.OCSPRequest | x509_ocsp.OCSPSingleResponse) -> CertId:
    """The CertID inside a parsed request or single response."""
    return CertId(
        holder.hash_algorithm.name,
        holder.issuer_name_hash,
        holder.issuer_key_hash,
        holder.serial_number,
    )


def nonce_of(request: x509_ocsp.OCSPRequest) -> bytes | None:
    """The nonce of a parsed request, None if it has none."""
    try:
        return request.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None


def build_query(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    *,
    certid_hash: CertIdHash,
    nonce: NonceMode,
    random_bytes: Callable[[int], bytes],
) -> OcspQuery:
    """The request about one certificate.

    Args:
        certificate: whose status is asked.
        issuer: the CA certificate of the validated path.
        certid_hash: by the issuer's profile.
        nonce: by the issuer's profile.
        random_bytes: source of the nonce; called with NONCE_BYTES.
    """
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate(
        certificate, issuer, certid_hash.algorithm
    )
    sent: bytes | None = None
    if nonce is not NonceMode.OFF:
        sent = random_bytes(NONCE_BYTES)
        builder = builder.add_extension(x509.OCSPNonce(sent), critical=False)
    request = builder.build()
    return OcspQuery(
        der=request.public_bytes(serialization.Encoding.DER),
        cert_id=cert_id_of(request),
        nonce=sent,
        certificate=certificate,
    )


def get_url(responder_url: str, request_der: bytes) -> str | None:
    """The URL of a GET with this request, None if it is too long for one.

    RFC 6960 appendix A.1: base64 without line breaks, then URL-escaped.
    """
    encoded = b64encode(request_der).decode("ascii")
    # Of the characters of base64 these mean something else in a path.
    escaped = encoded.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    url = f"{responder_url.rstrip('/')}/{escaped}"
    return url if len(url) <= MAX_GET_URL else None
