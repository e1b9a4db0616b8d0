"""Which key kinds are used, how they are generated, and what their mechanisms sign.

Hashing is done in software everywhere: plain CKM_ECDSA works on every token seen, while
CKM_ECDSA_SHA256 is missing in SoftHSM 2.6.1.
"""

from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pkcs11 import Attribute, KeyType, Mechanism, Object, SignMixin

from pkcs11_bridge.encoding import HashName, check_digest, digest_info
from pkcs11_bridge.errors import DeviceUnavailable, KeyUnsupported, MechanismUnsupported
from pkcs11_bridge.pin import Pin

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")  # OID 1.2.840.10045.3.1.7
ED25519_PARAMETERS = bytes.fromhex("06032b6570")  # OID 1.3.101.112 (RFC 8410)
# PKCS#11 3.0 section 2.3.5 allows the curve's name as a PrintableString instead
_ED25519_NAME = b"\x13\x0cedwards25519"


class KeyAlgorithm(StrEnum):
    """The kinds of key that are used."""

    EC_P256 = "ec-p256"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ED25519 = "ed25519"

    @property
    def is_rsa(self) -> bool:
        """Whether the key signs with RSASSA-PKCS1-v1_5."""
        return self in _RSA_BITS


_RSA_BITS = {
    KeyAlgorithm.RSA_2048: 2048,
    KeyAlgorithm.RSA_3072: 3072,
    KeyAlgorithm.RSA_4096: 4096,
}


@dataclass(frozen=True, slots=True)
class SigningCall:
    """One C_Sign: its mechanism, its input, and the only length its output may have."""

    mechanism: Mechanism
    data: bytes
    signature_size: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One C_GenerateKeyPair."""

    mechanism: Mechanism
    key_type: KeyType
    bits: int | None
    public_template: dict[Attribute, bytes]


def generation(algorithm: KeyAlgorithm) -> Generation:
    """How a key pair of this kind is made."""
    if algorithm is KeyAlgorithm.EC_P256:
        template = {Attribute.EC_PARAMS: P256_PARAMETERS}
        return Generation(Mechanism.EC_KEY_PAIR_GEN, KeyType.EC, None, template)
    if algorithm is KeyAlgorithm.ED25519:
        template = {Attribute.EC_PARAMS: ED25519_PARAMETERS}
        return Generation(Mechanism.EC_EDWARDS_KEY_PAIR_GEN, KeyType.EC_EDWARDS, None, template)
    return Generation(Mechanism.RSA_PKCS_KEY_PAIR_GEN, KeyType.RSA, _RSA_BITS[algorithm], {})


def digest_signing(algorithm: KeyAlgorithm, digest: bytes, hash_name: HashName) -> SigningCall:
    """What C_Sign gets for a digest: CKM_ECDSA the digest, CKM_RSA_PKCS the DigestInfo.

    Raises:
        ValueError: the digest's length is not that of its hash.
        MechanismUnsupported: the key signs messages, not digests; or P-256 with another hash
            than SHA-256, whose truncation tokens do differently.
    """
    check_digest(hash_name, digest)
    if algorithm is KeyAlgorithm.EC_P256:
        if hash_name != "sha256":
            raise MechanismUnsupported("a P-256 key signs SHA-256 digests")
        return SigningCall(Mechanism.ECDSA, digest, 64)
    if algorithm is KeyAlgorithm.ED25519:
        raise MechanismUnsupported("an Ed25519 key signs messages, not digests")
    size = _RSA_BITS[algorithm] // 8
    return SigningCall(Mechanism.RSA_PKCS, digest_info(hash_name, digest), size)


def message_signing(algorithm: KeyAlgorithm, message: bytes) -> SigningCall:
    """What C_Sign gets for a message: CKM_EDDSA, pure Ed25519 (RFC 8032).

    Raises:
        MechanismUnsupported: the key signs digests.
    """
    if algorithm is not KeyAlgorithm.ED25519:
        raise MechanismUnsupported("only Ed25519 keys sign whole messages")
    return SigningCall(Mechanism.EDDSA, message, 64)


def sign_once(key: Object, call: SigningCall, pin: Pin | None = None) -> bytes:
    """One C_Sign with a session's key object; the output's length is checked.

    Args:
        key: found in the session that signs.
        call: from ``digest_signing`` or ``message_signing``.
        pin: for a key with CKA_ALWAYS_AUTHENTICATE, else None.

    Raises:
        MechanismUnsupported: CKA_SIGN is not set.
        DeviceUnavailable: the token returned a signature of another length.
    """
    if not isinstance(key, SignMixin):
        raise MechanismUnsupported("the key is not meant for signatures")
    revealed = None if pin is None else pin.reveal()
    signature = bytes(key.sign(call.data, mechanism=call.mechanism, pin=revealed))
    if len(signature) != call.signature_size:
        raise DeviceUnavailable("the token returned a signature of the wrong length")
    return signature


def public_key_of(public_object: Object) -> PublicKey:
    """The public key object's value.

    Raises:
        KeyUnsupported: another type, curve or size, or an encoding that makes no sense.
    """
    key_type = public_object[Attribute.KEY_TYPE]
    try:
        if key_type is KeyType.RSA:
            return rsa.RSAPublicNumbers(
                e=int.from_bytes(public_object[Attribute.PUBLIC_EXPONENT], "big"),
                n=int.from_bytes(public_object[Attribute.MODULUS], "big"),
            ).public_key()
        if key_type not in (KeyType.EC, KeyType.EC_EDWARDS):
            raise KeyUnsupported(f"keys of type {key_type} are not used")
        parameters = bytes(public_object[Attribute.EC_PARAMS])
        point = _octet_string(bytes(public_object[Attribute.EC_POINT]))
        return _point_on(parameters, point)
    except ValueError as e:
        raise KeyUnsupported("the token's public key makes no sense") from e


def algorithm_of(public_key: PublicKey) -> KeyAlgorithm:
    """The kind of a public key; raises KeyUnsupported for other sizes and curves."""
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return KeyAlgorithm.ED25519
    if isinstance(public_key, rsa.RSAPublicKey):
        for algorithm, bits in _RSA_BITS.items():
            if public_key.key_size == bits:
                return algorithm
        raise KeyUnsupported(f"RSA keys of {public_key.key_size} bits are not used")
    if isinstance(public_key.curve, ec.SECP256R1):
        return KeyAlgorithm.EC_P256
    raise KeyUnsupported(f"the curve {public_key.curve.name} is not used")


def _point_on(parameters: bytes, point: bytes) -> PublicKey:
    if parameters == P256_PARAMETERS:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    if parameters in (ED25519_PARAMETERS, _ED25519_NAME):
        return ed25519.Ed25519PublicKey.from_public_bytes(point)
    raise KeyUnsupported("the key is on another curve than P-256 and Ed25519")


def _octet_string(value: bytes) -> bytes:
    """CKA_EC_POINT: a DER OCTET STRING by the standard, the bare point from some tokens."""
    if len(value) > 2 and value[0] == 0x04 and value[1] == len(value) - 2:
        return value[2:]
    return value
