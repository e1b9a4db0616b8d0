"""The Web eID authentication token, format web-eid:1.0.

Source: Web eID system architecture document, "Authentication token format".
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from typing import Never

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ocsp.certificate import ReadCertificate
from signer.errors import (
    TokenAlgorithmUnsupported,
    TokenFormatUnsupported,
    TokenMalformed,
    TokenSignatureInvalid,
)
from signer.login.challenge import SpentChallenge

_SEAL = object()

FORMAT = "web-eid:1.0"
MIN_TOKEN_CHARACTERS = 100
MAX_TOKEN_CHARACTERS = 10_000

_HASHES: Mapping[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_DIGESTS = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_CURVES: Mapping[str, tuple[str, int]] = {
    "ES256": ("secp256r1", 32),
    "ES384": ("secp384r1", 48),
    "ES512": ("secp521r1", 66),
}
ALGORITHMS = frozenset(kind + size for kind in ("ES", "PS", "RS") for size in _HASHES)
# Members of web-eid:1.1 that a 1.0 token must not carry.
_MEMBERS_OF_LATER_VERSIONS = ("unverifiedIntermediateCertificates", "unverifiedSigningCertificates")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A token of the right shape; nothing in it is verified.

    Attributes:
        unverified_certificate: bytes that should be a DER certificate.
        algorithm: one of the nine JOSE algorithms of the format.
        signature: raw r || s or an RSA signature.
        token_sha256: SHA-256 over the token's canonical JSON, for the record.
    """

    unverified_certificate: bytes = field(repr=False)
    algorithm: str
    signature: bytes = field(repr=False)
    token_sha256: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProofOfPossession:
    """The certificate's key signed this origin and this challenge.

    Attributes:
        certificate_sha256: fingerprint of the certificate that was proved, 32 bytes.
        algorithm: the JOSE algorithm used.
    """

    certificate_sha256: bytes
    algorithm: str
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "a ProofOfPossession is made by prove_possession() alone"
            raise TypeError(msg)

    def __reduce__(self) -> Never:
        msg = "a ProofOfPossession cannot be pickled"
        raise TypeError(msg)


def parse_token(unverified: object) -> UnverifiedToken:
    """Check the shape of a token (web-eid validation, steps 1 to 4 and the form of step 11).

    Args:
        unverified: what JSON parsing gave.

    Raises:
        TokenMalformed: not an object, too long or short, a member missing or of the wrong kind.
        TokenFormatUnsupported: another format or version.
        TokenAlgorithmUnsupported: none of the nine algorithms.
    """
    # 1-2. A JSON object of a bounded length.
    if not isinstance(unverified, dict):
        raise TokenMalformed("the token is not a JSON object")
    canonical = json.dumps(unverified, sort_keys=True, separators=(",", ":")).encode()
    if not MIN_TOKEN_CHARACTERS <= len(canonical) <= MAX_TOKEN_CHARACTERS:
        raise TokenMalformed("the token is too short or too long")
    # 3. The format; versions are compared exactly, never by prefix.
    token_format = _text(unverified, "format")
    if token_format != FORMAT:
        raise TokenFormatUnsupported("the only supported format is " + FORMAT)
    for member in _MEMBERS_OF_LATER_VERSIONS:
        if member in unverified:
            raise TokenMalformed(f"a {FORMAT} token has no member {member}")
    # 4. The certificate is present and decodes from base64.
    certificate = _base64(unverified, "unverifiedCertificate")
    # 11 (form). Algorithm and signature are present, and the algorithm is allowed.
    algorithm = _text(unverified, "algorithm")
    if algorithm not in ALGORITHMS:
        raise TokenAlgorithmUnsupported("the algorithm is not one of the nine of the format")
    signature = _base64(unverified, "signature")
    return UnverifiedToken(certificate, algorithm, signature, hashlib.sha256(canonical).digest())


def _text(token: Mapping[str, object], member: str) -> str:
    value = token.get(member)
    if not isinstance(value, str) or not value:
        raise TokenMalformed(f"the member {member} is missing, empty or not a string")
    return value


def _base64(token: Mapping[str, object], member: str) -> bytes:
    try:
        decoded = base64.b64decode(_text(token, member).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise TokenMalformed(f"the member {member} is not standard base64") from error
    if not decoded:
        raise TokenMalformed(f"the member {member} is empty")
    return decoded


def signed_message(algorithm: str, origin: str, nonce: str) -> bytes:
    """H(origin) || H(nonce), both hashed as UTF-8 text; the nonce is not decoded.

    Args:
        algorithm: its last three digits name H.
        origin: `https://host[:port]`.
        nonce: the challenge's base64 text.
    """
    digest = _DIGESTS[algorithm[2:]]
    return digest(origin.encode()).digest() + digest(nonce.encode()).digest()


def prove_possession(
    token: UnverifiedToken, certificate: ReadCertificate, challenge: SpentChallenge
) -> ProofOfPossession:
    """Verify the token's signature (web-eid validation, step 11).

    The signature covers origin and challenge, so neither is compared otherwise.

    Args:
        token: as parsed.
        certificate: the token's certificate, already found valid by its path.
        challenge: taken from the store.

    Raises:
        TokenAlgorithmUnsupported: the algorithm does not fit the certificate's key.
        TokenSignatureInvalid: the signature is not over this origin and challenge.
    """
    verify_card_signature(
        certificate.certificate,
        token.algorithm,
        token.signature,
        origin=challenge.origin,
        nonce=challenge.nonce,
    )
    return ProofOfPossession(hashlib.sha256(certificate.der).digest(), token.algorithm, _SEAL)


def verify_card_signature(
    certificate: x509.Certificate, algorithm: str, signature: bytes, *, origin: str, nonce: str
) -> None:
    """Verify what a card signed: H(origin) || H(nonce).

    Args:
        certificate: the card's.
        algorithm: JOSE name, one of the nine.
        signature: as in a token: raw r || s or RSA.
        origin: `https://host[:port]`.
        nonce: the challenge's base64 text.

    Raises:
        TokenAlgorithmUnsupported: the algorithm does not fit the certificate's key, or is unknown.
        TokenSignatureInvalid: the signature is not over this origin and challenge.
    """
    if algorithm not in ALGORITHMS:
        raise TokenAlgorithmUnsupported("the algorithm is none of the nine")
    message = signed_message(algorithm, origin, nonce)
    algorithm_hash = _HASHES[algorithm[2:]]()
    key = certificate.public_key()
    try:
        if algorithm.startswith("ES") and isinstance(key, ec.EllipticCurvePublicKey):
            _verify_ecdsa(key, algorithm, signature, message, algorithm_hash)
        elif algorithm.startswith("RS") and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), algorithm_hash)
        elif algorithm.startswith("PS") and isinstance(key, rsa.RSAPublicKey):
            # RFC 7518, section 3.5: MGF1 with the same hash, salt as long as the hash.
            pss = padding.PSS(padding.MGF1(algorithm_hash), algorithm_hash.digest_size)
            key.verify(signature, message, pss, algorithm_hash)
        else:
            raise TokenAlgorithmUnsupported("the algorithm does not fit the certificate's key")
    except InvalidSignature as error:
        raise TokenSignatureInvalid("the signature does not verify") from error


def _verify_ecdsa(
    key: ec.EllipticCurvePublicKey,
    algorithm: str,
    signature: bytes,
    message: bytes,
    algorithm_hash: hashes.HashAlgorithm,
) -> None:
    """RFC 7518, section 3.4: raw r || s of the curve's fixed length; DER is refused."""
    curve, width = _CURVES[algorithm]
    if key.curve.name != curve:
        raise TokenAlgorithmUnsupported(f"{algorithm} needs a key on {curve}")
    if len(signature) != 2 * width:
        raise TokenSignatureInvalid(f"an {algorithm} signature has {2 * width} bytes")
    der = encode_dss_signature(
        int.from_bytes(signature[:width], "big"),
        int.from_bytes(signature[width:], "big"),
    )
    key.verify(der, message, ec.ECDSA(algorithm_hash))
