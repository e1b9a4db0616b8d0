"""Token keys in the shape that cryptography's builders sign with.

``CertificateBuilder.sign``, ``OCSPResponseBuilder.sign`` and their kin take any subclass of the
private key classes and call only ``sign`` and ``public_key``.
"""

from collections.abc import Callable
from typing import Never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric import utils as asym_utils

from pkcs11_bridge.encoding import HashName, raw_to_der

SignMessage = Callable[[bytes, HashName], bytes]
"""Takes a message and a hash's name, returns raw r || s (EC) or PKCS#1 v1.5 (RSA).

The message and not its digest, so that whoever signs can look at what it is.
"""

_HASH_NAMES: dict[type[hashes.HashAlgorithm], HashName] = {
    hashes.SHA256: "sha256",
    hashes.SHA384: "sha384",
    hashes.SHA512: "sha512",
}


def ec_signing_key(
    public_key: ec.EllipticCurvePublicKey, sign_message: SignMessage
) -> ec.EllipticCurvePrivateKey:
    """A key object that signs through ``sign_message`` and gives DER signatures."""
    return _EcSigningKey(public_key, sign_message)


def rsa_signing_key(public_key: rsa.RSAPublicKey, sign_message: SignMessage) -> rsa.RSAPrivateKey:
    """A key object that signs through ``sign_message``, PKCS#1 v1.5 only."""
    return _RsaSigningKey(public_key, sign_message)


def _hash_name(
    algorithm: asym_utils.Prehashed | hashes.HashAlgorithm | asym_utils.NoDigestInfo,
) -> HashName:
    if not isinstance(algorithm, hashes.HashAlgorithm) or type(algorithm) not in _HASH_NAMES:
        raise UnsupportedAlgorithm("token keys sign with SHA-256, SHA-384 or SHA-512")
    return _HASH_NAMES[type(algorithm)]


def _stays_in_the_token() -> Never:
    raise UnsupportedAlgorithm("the private key stays in its token and does nothing but sign")


class _EcSigningKey(ec.EllipticCurvePrivateKey):
    def __init__(self, public_key: ec.EllipticCurvePublicKey, sign_message: SignMessage) -> None:
        self._public_key = public_key
        self._sign_message = sign_message

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public_key

    def sign(
        self,
        data: bytes | bytearray | memoryview,
        signature_algorithm: ec.EllipticCurveSignatureAlgorithm,
    ) -> bytes:
        if not isinstance(signature_algorithm, ec.ECDSA):
            raise UnsupportedAlgorithm("the key signs with ECDSA")
        hash_name = _hash_name(signature_algorithm.algorithm)
        return raw_to_der(self._sign_message(bytes(data), hash_name))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        del algorithm, peer_public_key
        _stays_in_the_token()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        _stays_in_the_token()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 - the interface's name
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        del encoding, format, encryption_algorithm
        _stays_in_the_token()

    def __copy__(self) -> "_EcSigningKey":
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> "_EcSigningKey":
        return self


class _RsaSigningKey(rsa.RSAPrivateKey):
    def __init__(self, public_key: rsa.RSAPublicKey, sign_message: SignMessage) -> None:
        self._public_key = public_key
        self._sign_message = sign_message

    @property
    def key_size(self) -> int:
        return self._public_key.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public_key

    def sign(
        self,
        data: bytes,
        padding: padding.AsymmetricPadding,
        algorithm: asym_utils.Prehashed | hashes.HashAlgorithm | asym_utils.NoDigestInfo,
    ) -> bytes:
        if padding.name != "EMSA-PKCS1-v1_5":
            raise UnsupportedAlgorithm("the key signs with PKCS#1 v1.5")
        return self._sign_message(bytes(data), _hash_name(algorithm))

    def decrypt(self, ciphertext: bytes, padding: padding.AsymmetricPadding) -> bytes:
        del ciphertext, padding
        _stays_in_the_token()

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        _stays_in_the_token()

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,  # noqa: A002 - the interface's name
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> bytes:
        del encoding, format, encryption_algorithm
        _stays_in_the_token()

    def __copy__(self) -> "_RsaSigningKey":
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> "_RsaSigningKey":
        return self
