"""Which key kinds and signature algorithms are used, and what their mechanisms sign.

Hashing is done in software everywhere: plain CKM_ECDSA works on every token seen, while
CKM_ECDSA_SHA256 is missing in SoftHSM 2.6.1. Kind of key, algorithm and length are checked here,
before the token is asked: a mechanism of another kind of key gives a general error, which says
nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pkcs11 import MGF, Attribute, KeyType, Mechanism, Object, SignMixin

from pkcs11_bridge.encoding import DIGEST_SIZES, HashName, check_digest, digest_info
from pkcs11_bridge.errors import DeviceUnavailable, KeyUnsupported, MechanismUnsupported
from pkcs11_bridge.pin import Pin

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PssParameters = tuple[Mechanism, MGF, int]
"""CK_RSA_PKCS_PSS_PARAMS: hash, mask generation function, bytes of salt."""

P256_PARAMETERS = bytes.fromhex("06082a8648ce3d030107")  # OID 1.2.840.10045.3.1.7
P384_PARAMETERS = bytes.fromhex("06052b81040022")  # OID 1.3.132.0.34
P521_PARAMETERS = bytes.fromhex("06052b81040023")  # OID 1.3.132.0.35
ED25519_PARAMETERS = bytes.fromhex("06032b6570")  # OID 1.3.101.112 (RFC 8410)
# PKCS#11 3.0 section 2.3.5 allows the curve's name as a PrintableString instead
_ED25519_NAME = b"\x13\x0cedwards25519"


class KeyAlgorithm(StrEnum):
    """The kinds of key that are used."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    EC_P521 = "ec-p521"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    ED25519 = "ed25519"

    @property
    def is_rsa(self) -> bool:
        """Whether the key signs with RSASSA-PKCS1-v1_5 and RSASSA-PSS."""
        return self in _RSA_BITS

    @property
    def bits(self) -> int:
        """The size as C_GetMechanismInfo counts it; 256 for Ed25519, as SoftHSM does."""
        curve = _CURVES.get(self)
        return _RSA_BITS.get(self, 256) if curve is None else curve.curve.key_size


class SignatureAlgorithm(StrEnum):
    """What a key signs with: the names of RFC 7518, section 3.1, and RFC 9864, section 2.2."""

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    ED25519 = "Ed25519"

    @property
    def hash_name(self) -> HashName | None:
        """The hash that is taken in software; None for Ed25519, which signs whole messages."""
        return _HASH_OF_NUMBER.get(self[2:])

    @property
    def mechanism(self) -> Mechanism:
        """The token's mechanism, which gets a digest, a DigestInfo or (Ed25519) the message."""
        return _MECHANISMS[self[:2]]

    def to_be_signed(self, message: bytes) -> bytes:
        """What ``signing_call`` takes for a message: its digest, or for Ed25519 itself."""
        hash_name = self.hash_name
        return message if hash_name is None else hashlib.new(hash_name, message).digest()


@dataclass(frozen=True, slots=True)
class _Curve:
    """A curve of FIPS 186-5, and the one hash that signs on it (RFC 7518, section 3.4)."""

    curve: ec.EllipticCurve
    parameters: bytes
    hash_name: HashName


_CURVES = {
    KeyAlgorithm.EC_P256: _Curve(ec.SECP256R1(), P256_PARAMETERS, "sha256"),
    KeyAlgorithm.EC_P384: _Curve(ec.SECP384R1(), P384_PARAMETERS, "sha384"),
    KeyAlgorithm.EC_P521: _Curve(ec.SECP521R1(), P521_PARAMETERS, "sha512"),
}
_RSA_BITS = {
    KeyAlgorithm.RSA_2048: 2048,
    KeyAlgorithm.RSA_3072: 3072,
    KeyAlgorithm.RSA_4096: 4096,
}
_MECHANISMS: Mapping[str, Mechanism] = {
    "RS": Mechanism.RSA_PKCS,
    "PS": Mechanism.RSA_PKCS_PSS,
    "ES": Mechanism.ECDSA,
    "Ed": Mechanism.EDDSA,
}
_HASH_OF_NUMBER: Mapping[str, HashName] = {"256": "sha256", "384": "sha384", "512": "sha512"}
_PSS_HASHES: Mapping[HashName, tuple[Mechanism, MGF]] = {
    "sha256": (Mechanism.SHA256, MGF.SHA256),
    "sha384": (Mechanism.SHA384, MGF.SHA384),
    "sha512": (Mechanism.SHA512, MGF.SHA512),
}


@dataclass(frozen=True, slots=True)
class SigningCall:
    """One C_Sign: mechanism, parameters and input, and the only length its output may have."""

    mechanism: Mechanism
    data: bytes
    signature_size: int
    parameters: PssParameters | None = None


@dataclass(frozen=True, slots=True)
class Generation:
    """One C_GenerateKeyPair."""

    mechanism: Mechanism
    key_type: KeyType
    bits: int | None
    public_template: dict[Attribute, bytes]


def generation(algorithm: KeyAlgorithm) -> Generation:
    """How a key pair of this kind is made."""
    curve = _CURVES.get(algorithm)
    if curve is not None:
        template = {Attribute.EC_PARAMS: curve.parameters}
        return Generation(Mechanism.EC_KEY_PAIR_GEN, KeyType.EC, None, template)
    if algorithm is KeyAlgorithm.ED25519:
        template = {Attribute.EC_PARAMS: ED25519_PARAMETERS}
        return Generation(Mechanism.EC_EDWARDS_KEY_PAIR_GEN, KeyType.EC_EDWARDS, None, template)
    return Generation(Mechanism.RSA_PKCS_KEY_PAIR_GEN, KeyType.RSA, _RSA_BITS[algorithm], {})


def algorithms_of_kind(key: KeyAlgorithm) -> tuple[SignatureAlgorithm, ...]:
    """What a key of this kind could sign with, on a token that knows the mechanism.

    An elliptic curve has one hash: RFC 7518 has no other pair, and tokens differ in how they
    shorten a longer digest.
    """
    curve = _CURVES.get(key)
    if curve is not None:
        return (SignatureAlgorithm("ES" + curve.hash_name.removeprefix("sha")),)
    if key is KeyAlgorithm.ED25519:
        return (SignatureAlgorithm.ED25519,)
    return tuple(found for found in SignatureAlgorithm if found[:2] in ("RS", "PS"))


def signing_call(
    key: KeyAlgorithm, algorithm: SignatureAlgorithm, to_be_signed: bytes
) -> SigningCall:
    """What C_Sign gets.

    CKM_RSA_PKCS the DigestInfo, CKM_RSA_PKCS_PSS and CKM_ECDSA the digest, CKM_EDDSA the message.

    Args:
        key: the kind of the key.
        algorithm: one that such a key can do.
        to_be_signed: the digest by the algorithm's hash; for Ed25519 the message (RFC 8032, pure).

    Raises:
        MechanismUnsupported: the algorithm is for another kind of key.
        ValueError: the digest's length is not that of its hash.
    """
    if algorithm not in algorithms_of_kind(key):
        raise MechanismUnsupported(f"a key of the kind {key} does not sign with {algorithm}")
    hash_name = algorithm.hash_name
    if hash_name is None:
        return SigningCall(algorithm.mechanism, to_be_signed, 64)
    check_digest(hash_name, to_be_signed)
    size = (key.bits + 7) // 8
    if algorithm.mechanism is Mechanism.ECDSA:
        return SigningCall(algorithm.mechanism, to_be_signed, 2 * size)
    if algorithm.mechanism is Mechanism.RSA_PKCS:
        return SigningCall(algorithm.mechanism, digest_info(hash_name, to_be_signed), size)
    # RFC 7518 section 3.5: the salt is as long as the digest, MGF1 uses the same hash
    parameters = (*_PSS_HASHES[hash_name], DIGEST_SIZES[hash_name])
    return SigningCall(algorithm.mechanism, to_be_signed, size, parameters)


def digest_signing(key: KeyAlgorithm, digest: bytes, hash_name: HashName) -> SigningCall:
    """What C_Sign gets for a digest: ECDSA, or RSASSA-PKCS1-v1_5.

    Raises:
        ValueError: the digest's length is not that of its hash.
        MechanismUnsupported: the key signs messages, not digests; or a curve with another hash
            than its own.
    """
    check_digest(hash_name, digest)
    if key is KeyAlgorithm.ED25519:
        raise MechanismUnsupported("an Ed25519 key signs messages, not digests")
    family = "RS" if key.is_rsa else "ES"
    return signing_call(key, SignatureAlgorithm(family + hash_name.removeprefix("sha")), digest)


def message_signing(key: KeyAlgorithm, message: bytes) -> SigningCall:
    """What C_Sign gets for a message: CKM_EDDSA, pure Ed25519 (RFC 8032).

    Raises:
        MechanismUnsupported: the key signs digests.
    """
    if key is not KeyAlgorithm.ED25519:
        raise MechanismUnsupported("only Ed25519 keys sign whole messages")
    return signing_call(key, SignatureAlgorithm.ED25519, message)


def sign_once(key: Object, call: SigningCall, pin: Pin | None = None) -> bytes:
    """One C_Sign with a session's key object; the output's length is checked.

    Args:
        key: found in the session that signs.
        call: from ``signing_call``.
        pin: for a key with CKA_ALWAYS_AUTHENTICATE, else None.

    Raises:
        MechanismUnsupported: CKA_SIGN is not set.
        DeviceUnavailable: the token returned a signature of another length.
    """
    if not isinstance(key, SignMixin):
        raise MechanismUnsupported("the key is not meant for signatures")
    revealed = None if pin is None else pin.reveal()
    signature = bytes(
        key.sign(call.data, mechanism=call.mechanism, mechanism_param=call.parameters, pin=revealed)
    )
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
        return _point_on(parameters, bytes(public_object[Attribute.EC_POINT]))
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
    for algorithm, known in _CURVES.items():
        if isinstance(public_key.curve, type(known.curve)):
            return algorithm
    raise KeyUnsupported(f"the curve {public_key.curve.name} is not used")


def _point_on(parameters: bytes, value: bytes) -> PublicKey:
    for known in _CURVES.values():
        if parameters == known.parameters:
            point = _bare_point(value, 1 + 2 * ((known.curve.key_size + 7) // 8))
            return ec.EllipticCurvePublicKey.from_encoded_point(known.curve, point)
    if parameters in (ED25519_PARAMETERS, _ED25519_NAME):
        return ed25519.Ed25519PublicKey.from_public_bytes(_bare_point(value, 32))
    raise KeyUnsupported("the key is on another curve than P-256, P-384, P-521 and Ed25519")


def _bare_point(value: bytes, size: int) -> bytes:
    """CKA_EC_POINT: a DER OCTET STRING by the standard, the bare point from some tokens.

    Told apart by the size: a bare point may begin as an OCTET STRING does.
    """
    header = bytes((0x04, size)) if size < 0x80 else bytes((0x04, 0x81, size))
    if len(value) == size:
        return value
    if value.startswith(header) and len(value) == len(header) + size:
        return value[len(header) :]
    raise KeyUnsupported("the token's public point has another size than its curve")
