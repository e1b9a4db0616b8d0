"""A client's OCSP request, read strictly: one certificate, the nonce its only extension used."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.certificate import MAX_SERIAL_BITS
from ocsp.errors import RequestMalformed
from ocsp.request import CertId, cert_id_of

MAX_REQUEST_BYTES = 8_192
"""An unsigned request has about 170 bytes; a signed one carries certificates, which we ignore."""

MAX_NONCE_BYTES = 128
"""RFC 9654 section 2.1."""


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """What a client asks.

    Attributes:
        cert_id: which certificate.
        nonce: to be echoed, None if it has none.
    """

    cert_id: CertId
    nonce: bytes | None


def read_request(unverified_der: bytes) -> AskedRequest:
    """Parse a request; a signature on it is ignored (RFC 9919 section 3.1).

    Raises:
        RequestMalformed: too large, no DER, more or less than one Request, an impossible serial
            number, an unknown critical extension, a nonce of 0 or more than MAX_NONCE_BYTES octets.
    """
    if len(unverified_der) > MAX_REQUEST_BYTES:
        raise RequestMalformed(f"larger than {MAX_REQUEST_BYTES} bytes")
    try:
        request = x509_ocsp.load_der_ocsp_request(unverified_der)
        cert_id, extensions = cert_id_of(request), request.extensions
    except (
        ValueError,
        TypeError,
        NotImplementedError,  # several Requests
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        CryptographyDeprecationWarning,
    ) as e:
        raise RequestMalformed("not an OCSPRequest for one certificate") from e
    if not 0 < cert_id.serial_number < 1 << MAX_SERIAL_BITS:
        raise RequestMalformed("a serial number that no certificate has")
    nonce = None
    for extension in extensions:
        if isinstance(extension.value, x509.OCSPNonce):
            nonce = extension.value.nonce
        elif extension.critical:
            raise RequestMalformed(f"critical extension {extension.oid.dotted_string}")
    if nonce is not None and not 1 <= len(nonce) <= MAX_NONCE_BYTES:
        raise RequestMalformed(f"a nonce of {len(nonce)} octets")
    return AskedRequest(cert_id, nonce)
