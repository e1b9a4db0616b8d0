"""The signature algorithms that answers, lists and delegates may be signed by, in one place.

ECDSA and RSASSA-PKCS1-v1_5 (RFC 5758, RFC 4055 section 5) by their OIDs. RSASSA-PSS by its whole
AlgorithmIdentifier, compared as bytes: its parameters choose hash, mask and salt freely, and one
choice for each hash is enough (RFC 4055 section 3.1, RFC 8017 section 9.1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from asn1crypto import core, parser
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import SignatureAlgorithmOID

from ocsp.certificate import PublicKey

_PSS_HASHES: tuple[tuple[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512], ...] = (
    ("2.16.840.1.101.3.4.2.1", hashes.SHA256()),
    ("2.16.840.1.101.3.4.2.2", hashes.SHA384()),
    ("2.16.840.1.101.3.4.2.3", hashes.SHA512()),
)
_MGF1 = "1.2.840.113549.1.1.8"


@dataclass(frozen=True, slots=True)
class SignatureScheme:
    """How a signature is verified.

    Attributes:
        key_type: of the public key.
        algorithm: the hash.
        rsa_padding: of an RSA key; None for an EC key.
    """

    key_type: type[ec.EllipticCurvePublicKey | rsa.RSAPublicKey]
    algorithm: hashes.HashAlgorithm
    rsa_padding: padding.PKCS1v15 | padding.PSS | None = None

    def verify(self, key: PublicKey, signature: bytes, signed: bytes) -> None:
        """Return if the signature is the key's.

        Raises:
            cryptography.exceptions.InvalidSignature: it is not.
            TypeError: the key is of another type.
        """
        if isinstance(key, rsa.RSAPublicKey) and self.rsa_padding is not None:
            key.verify(signature, signed, self.rsa_padding, self.algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and self.rsa_padding is None:
            key.verify(signature, signed, ec.ECDSA(self.algorithm))
        else:
            raise TypeError("the algorithm is for another type of key")


def scheme_of(
    oid: x509.ObjectIdentifier, identifier: Callable[[], bytes], allowed_hashes: frozenset[str]
) -> SignatureScheme | None:
    """The scheme that an AlgorithmIdentifier names, None if it is none that is allowed.

    Args:
        oid: its algorithm.
        identifier: gives its DER; asked only where the parameters count.
        allowed_hashes: names of the hashes that the issuer's profile allows.

    Raises:
        ValueError: the DER cannot be read.
    """
    is_pss = oid == SignatureAlgorithmOID.RSASSA_PSS
    scheme = _PSS.get(identifier()) if is_pss else _BY_OID.get(oid)
    return scheme if scheme is not None and scheme.algorithm.name in allowed_hashes else None


def algorithm_identifier(signed_der: bytes) -> bytes:
    """DER of signatureAlgorithm in `SEQUENCE { tbs, signatureAlgorithm, signature }`.

    Certificates, lists and basic OCSP responses have this form.

    Raises:
        ValueError: it cannot be read.
    """
    inner: bytes = parser.parse(signed_der)[4]
    return _first(inner[len(_first(inner)) :])


def _first(der: bytes) -> bytes:
    _, _, _, header, content, trailer = parser.parse(der)
    whole: bytes = header + content + trailer
    return whole


def _tlv(tag: int, content: bytes) -> bytes:
    """The short form: nothing here has 128 bytes."""
    return bytes((tag, len(content))) + content


def _pss_identifiers(oid: str, salt_length: int) -> tuple[bytes, ...]:
    """An RSASSA-PSS AlgorithmIdentifier in its four spellings.

    MGF1 has the same hash, the salt is as long as the hash, and the trailer field is the default,
    which DER leaves out. The parameters of both hashes are NULL or absent: either must be
    understood (RFC 4055 section 2.1).
    """
    spellings = []
    for outer, inner in product((b"\x05\x00", b""), repeat=2):
        name = core.ObjectIdentifier(oid).dump()
        mask = _tlv(0x30, core.ObjectIdentifier(_MGF1).dump() + _tlv(0x30, name + inner))
        parameters = (
            _tlv(0xA0, _tlv(0x30, name + outer)),
            _tlv(0xA1, mask),
            _tlv(0xA2, core.Integer(salt_length).dump()),
        )
        pss = core.ObjectIdentifier(SignatureAlgorithmOID.RSASSA_PSS.dotted_string).dump()
        spellings.append(_tlv(0x30, pss + _tlv(0x30, b"".join(parameters))))
    return tuple(spellings)


def _rsa(algorithm: hashes.HashAlgorithm) -> SignatureScheme:
    return SignatureScheme(rsa.RSAPublicKey, algorithm, padding.PKCS1v15())


def _ecdsa(algorithm: hashes.HashAlgorithm) -> SignatureScheme:
    return SignatureScheme(ec.EllipticCurvePublicKey, algorithm)


_BY_OID = {
    SignatureAlgorithmOID.RSA_WITH_SHA1: _rsa(hashes.SHA1()),  # noqa: S303 -- refused unless the issuer's profile names it
    SignatureAlgorithmOID.RSA_WITH_SHA256: _rsa(hashes.SHA256()),
    SignatureAlgorithmOID.RSA_WITH_SHA384: _rsa(hashes.SHA384()),
    SignatureAlgorithmOID.RSA_WITH_SHA512: _rsa(hashes.SHA512()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: _ecdsa(hashes.SHA256()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: _ecdsa(hashes.SHA384()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: _ecdsa(hashes.SHA512()),
}

_PSS = {
    identifier: SignatureScheme(
        rsa.RSAPublicKey, algorithm, padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    )
    for oid, algorithm in _PSS_HASHES
    for identifier in _pss_identifiers(oid, algorithm.digest_size)
}
