"""Certificates of the service's keys: asked for, checked, put in place."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.certificate import check_validity, read_certificate
from ocsp.errors import (
    CertificateRefused,
    PathMember,
    ResponderMisconfigured,
    ResponderNotAuthorised,
)
from ocsp.responder.answering import SigningKey
from ocsp.responder.crl_issuing import CrlIssuer
from ocsp.responder_authority import check_delegate
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.mechanisms import PublicKey
from pkcs11_bridge.signing_keys import SignMessage, ec_signing_key, rsa_signing_key
from signer.backend import PERMIT_LIFE, SigningBackend
from signer.errors import NoKeyForPurpose
from signer.payload import OCSP_PURPOSES, Purpose, certification_request_payload
from signer.permit import PermitLedger, reserve_permits
from webapi.cli.key.errors import CertificateUnfit
from webapi.cli.key.files import replace_file
from webapi.trust_settings import CertificateFileWrong, read_certificate_file

OWNER = "certification-request"
"""For whom a request is signed, as permits and audit entries have it."""

_HASHES = frozenset({"sha256", "sha384", "sha512"})


def request_certificate(
    backend: SigningBackend,
    ledger: PermitLedger,
    *,
    purpose: Purpose,
    subject: x509.Name,
    clock: Callable[[], datetime],
) -> x509.CertificateSigningRequest:
    """A request for a certificate (PKCS#10, RFC 2986), signed by the key in its token.

    Args:
        backend: holds the key, which is not in service.
        ledger: records the permit for this one signature, and its audit entry.
        purpose: names the key.
        subject: whom the certificate shall name.
        clock: gives aware UTC.

    Raises:
        NoKeyForPurpose: the key is neither on P-256 nor RSA.
        PayloadRefused, PermitError, OwnSignatureInvalid: as named.
        pkcs11_bridge.errors.TokenError: the token could not sign.
    """
    public_key = backend.public_key(purpose)

    def sign(message: bytes, _hash_name: HashName) -> bytes:
        payload = certification_request_payload(purpose, public_key, message)
        at = clock()
        (permit,) = reserve_permits([payload], owner=OWNER, ledger=ledger, at=at, life=PERMIT_LIFE)
        return backend.sign(permit, payload, at=at).raw

    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(_signing_key(public_key, sign), hashes.SHA256())


def _signing_key(public_key: PublicKey, sign: SignMessage) -> SigningKey:
    """A key object that signs through a function; raises NoKeyForPurpose for other kinds."""
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return ec_signing_key(public_key, sign)
    if isinstance(public_key, rsa.RSAPublicKey):
        return rsa_signing_key(public_key, sign)
    raise NoKeyForPurpose("a certified key is on P-256, or RSA")


def check_certificate(
    purpose: Purpose,
    certificate: x509.Certificate,
    key: PublicKey | None,
    *,
    issuer: x509.Certificate,
    at: datetime,
) -> None:
    """Check a certificate before it is put in place.

    1. It is of the token's key.
    2. The CA issued it directly, and it is in time.
    3. It is for OCSP answers, with nocheck (RFC 6960, section 4.2.2.2); or for revocation lists,
       in the CA's own name (RFC 5280, section 5.1.1.3).

    Args:
        purpose: the key's.
        certificate: as the CA sent it.
        key: the public half on the token.
        issuer: the CA's certificate.
        at: now, aware UTC.

    Raises:
        CertificateUnfit: with the reason.
    """
    # 1.
    if key is None or certificate.public_key() != key:
        raise CertificateUnfit("the certificate is not of the key on the token")
    # 2.
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise CertificateUnfit("it was not issued by this CA") from error
    try:
        read = read_certificate(certificate.public_bytes(Encoding.DER))
        check_validity(read.certificate, PathMember.AUTHORITY, at)
        # 3.
        if purpose in OCSP_PURPOSES:
            read_issuer = read_certificate(issuer.public_bytes(Encoding.DER))
            check_delegate(read, issuer=read_issuer, allowed_hashes=_HASHES, at=at)
        else:
            CrlIssuer(issuer, certificate, _signing_key(key, _sign_nothing))
    except (CertificateRefused, ResponderMisconfigured, ResponderNotAuthorised) as error:
        raise CertificateUnfit(f"the service could not use it: {error}") from error


def _sign_nothing(_message: bytes, _hash_name: HashName) -> bytes:
    raise UnsupportedAlgorithm("a certificate is looked at, and nothing signed")


def put_in_place(path: Path, certificate: x509.Certificate) -> None:
    """Write a certificate where the service reads it: DER, or PEM where the name ends so.

    A certificate of another key is never overwritten.

    Raises:
        CertificateUnfit: there is one of another key, or something that is no certificate.
    """
    if path.exists():
        try:
            present = read_certificate_file(path).public_key()
        except CertificateFileWrong as error:
            raise CertificateUnfit(f"{path} is in the way: {error}") from error
        if present != certificate.public_key():
            raise CertificateUnfit(
                f"{path} is the certificate of another key: name another file in `certificate`"
            )
    encoding = Encoding.PEM if path.suffix == ".pem" else Encoding.DER
    replace_file(path, certificate.public_bytes(encoding))
