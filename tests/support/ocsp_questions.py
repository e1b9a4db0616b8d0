"""OCSP requests about serial numbers, without the certificates that bear them."""

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp


def question(issuer: x509.Certificate, serial: int, *, nonce: bytes | None = None) -> bytes:
    """DER of a request about this serial number of an issuer, its CertID with SHA-256."""
    read = asn1_x509.Certificate.load(issuer.public_bytes(Encoding.DER))
    builder = x509_ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        read.subject.sha256, read.public_key.sha256, serial, hashes.SHA256()
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)
