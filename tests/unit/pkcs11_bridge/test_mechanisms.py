"""Which keys are used, and what their mechanisms get."""

import hashlib
from typing import Any, cast

import pytest
from asn1crypto.core import OctetString
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import MGF, Attribute, KeyType, Mechanism, Object

from pkcs11_bridge.encoding import DIGEST_SIZES, HashName, digest_info
from pkcs11_bridge.errors import KeyUnsupported, MechanismUnsupported
from pkcs11_bridge.mechanisms import (
    ED25519_PARAMETERS,
    P256_PARAMETERS,
    P384_PARAMETERS,
    P521_PARAMETERS,
    KeyAlgorithm,
    SignatureAlgorithm,
    SigningCall,
    algorithm_of,
    algorithms_of_kind,
    digest_signing,
    generation,
    message_signing,
    public_key_of,
    sign_once,
    signing_call,
)

DIGEST = hashlib.sha256(b"text").digest()
MESSAGE = b"a message"
DIGESTS: dict[HashName, bytes] = {
    name: hashlib.new(name, MESSAGE).digest() for name in DIGEST_SIZES
}
RSA_KINDS = {KeyAlgorithm.RSA_2048: 256, KeyAlgorithm.RSA_3072: 384, KeyAlgorithm.RSA_4096: 512}
CURVES: dict[KeyAlgorithm, tuple[ec.EllipticCurve, bytes, int]] = {
    KeyAlgorithm.EC_P256: (ec.SECP256R1(), P256_PARAMETERS, 32),
    KeyAlgorithm.EC_P384: (ec.SECP384R1(), P384_PARAMETERS, 48),
    KeyAlgorithm.EC_P521: (ec.SECP521R1(), P521_PARAMETERS, 66),
}
SECP224R1_PARAMETERS = bytes.fromhex("06052b81040021")


def rsa_calls(size: int) -> dict[SignatureAlgorithm, SigningCall]:
    """What an RSA key of so many bytes does."""
    v15 = {
        SignatureAlgorithm(f"RS{name[3:]}"): SigningCall(
            Mechanism.RSA_PKCS, digest_info(name, digest), size
        )
        for name, digest in DIGESTS.items()
    }
    pss = {
        SignatureAlgorithm.PS256: (Mechanism.SHA256, MGF.SHA256, 32),
        SignatureAlgorithm.PS384: (Mechanism.SHA384, MGF.SHA384, 48),
        SignatureAlgorithm.PS512: (Mechanism.SHA512, MGF.SHA512, 64),
    }
    return v15 | {
        algorithm: SigningCall(
            Mechanism.RSA_PKCS_PSS, algorithm.to_be_signed(MESSAGE), size, parameters
        )
        for algorithm, parameters in pss.items()
    }


CALLS: dict[KeyAlgorithm, dict[SignatureAlgorithm, SigningCall]] = {
    KeyAlgorithm.EC_P256: {
        SignatureAlgorithm.ES256: SigningCall(Mechanism.ECDSA, DIGESTS["sha256"], 64)
    },
    KeyAlgorithm.EC_P384: {
        SignatureAlgorithm.ES384: SigningCall(Mechanism.ECDSA, DIGESTS["sha384"], 96)
    },
    KeyAlgorithm.EC_P521: {
        SignatureAlgorithm.ES512: SigningCall(Mechanism.ECDSA, DIGESTS["sha512"], 132)
    },
    KeyAlgorithm.ED25519: {SignatureAlgorithm.ED25519: SigningCall(Mechanism.EDDSA, MESSAGE, 64)},
    **{kind: rsa_calls(size) for kind, size in RSA_KINDS.items()},
}
"""What every kind of key does with every algorithm; a pair that is missing is refused."""


def stored(values: dict[Attribute, Any]) -> Object:
    """A public key object as the binding gives it: a mapping of attributes."""
    return cast("Object", values)


def ec_object(point: bytes, parameters: bytes = P256_PARAMETERS) -> Object:
    return stored(
        {
            Attribute.KEY_TYPE: KeyType.EC,
            Attribute.EC_PARAMS: parameters,
            Attribute.EC_POINT: point,
        }
    )


def point_of(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.mark.parametrize(
    "point",
    [
        b"",
        b"\x04\x41" + b"\x04" + bytes(64),  # not on the curve
        b"\x04\x40" + b"\x04" + bytes(63),
        b"\x04" + bytes(60),
    ],
)
def test_points_that_make_no_sense(point: bytes) -> None:
    with pytest.raises(KeyUnsupported):
        public_key_of(ec_object(point))


def test_other_curves_and_types() -> None:
    with pytest.raises(KeyUnsupported):
        public_key_of(ec_object(bytes(57), SECP224R1_PARAMETERS))
    with pytest.raises(KeyUnsupported):
        public_key_of(stored({Attribute.KEY_TYPE: KeyType.DSA}))


def test_rsa_numbers_that_make_no_sense() -> None:
    values = {
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.MODULUS: b"\x0f",
        Attribute.PUBLIC_EXPONENT: b"\x02",
    }
    with pytest.raises(KeyUnsupported):
        public_key_of(stored(values))


def test_sizes_and_curves_that_are_not_used() -> None:
    for key in (
        rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key(),  # noqa: S505 - refused
        ec.generate_private_key(ec.SECP224R1()).public_key(),
    ):
        with pytest.raises(KeyUnsupported):
            algorithm_of(key)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("kind", CURVES)
def test_points_with_and_without_their_octet_string(kind: KeyAlgorithm, wrapped: bool) -> None:
    curve, parameters, _ = CURVES[kind]
    key = ec.generate_private_key(curve).public_key()
    point = point_of(key)
    value = OctetString(point).dump() if wrapped else point
    read = public_key_of(ec_object(value, parameters))
    assert read == key
    assert algorithm_of(read) is kind


def test_a_bare_point_that_begins_as_an_octet_string_does() -> None:
    while True:
        point = point_of(ec.generate_private_key(ec.SECP256R1()).public_key())
        if point[1] == len(point) - 2:
            break
    read = public_key_of(ec_object(point))
    assert isinstance(read, ec.EllipticCurvePublicKey)
    assert point_of(read) == point


@pytest.mark.parametrize("parameters", [ED25519_PARAMETERS, b"\x13\x0cedwards25519"])
def test_ed25519_by_oid_and_by_name(parameters: bytes) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    values = {
        Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
        Attribute.EC_PARAMS: parameters,
        Attribute.EC_POINT: b"\x04\x20" + key.public_bytes_raw(),
    }
    assert public_key_of(stored(values)) == key
    assert algorithm_of(key) is KeyAlgorithm.ED25519


@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_digests_of_the_wrong_length_go_nowhere(algorithm: KeyAlgorithm) -> None:
    with pytest.raises(ValueError, match="digest has"):
        digest_signing(algorithm, DIGEST[:-1], "sha256")


@pytest.mark.parametrize(
    ("kind", "hash_name"),
    [
        (KeyAlgorithm.EC_P256, "sha384"),
        (KeyAlgorithm.EC_P384, "sha256"),
        (KeyAlgorithm.EC_P521, "sha384"),
    ],
)
def test_a_curve_signs_with_one_hash(kind: KeyAlgorithm, hash_name: HashName) -> None:
    with pytest.raises(MechanismUnsupported):
        digest_signing(kind, DIGESTS[hash_name], hash_name)


def test_digests_and_messages_are_not_mixed() -> None:
    with pytest.raises(MechanismUnsupported):
        digest_signing(KeyAlgorithm.ED25519, DIGEST, "sha256")
    for algorithm in set(KeyAlgorithm) - {KeyAlgorithm.ED25519}:
        with pytest.raises(MechanismUnsupported):
            message_signing(algorithm, b"text")


@pytest.mark.parametrize("algorithm", SignatureAlgorithm)
@pytest.mark.parametrize("kind", KeyAlgorithm)
def test_what_c_sign_gets(kind: KeyAlgorithm, algorithm: SignatureAlgorithm) -> None:
    to_be_signed = algorithm.to_be_signed(MESSAGE)
    expected = CALLS[kind].get(algorithm)
    assert (algorithm in algorithms_of_kind(kind)) == (expected is not None)
    if expected is None:
        with pytest.raises(MechanismUnsupported):
            signing_call(kind, algorithm, to_be_signed)
    else:
        assert signing_call(kind, algorithm, to_be_signed) == expected
        hash_name = algorithm.hash_name
        if hash_name is not None:
            with pytest.raises(ValueError, match="digest has"):
                signing_call(kind, algorithm, to_be_signed + b"x")


@pytest.mark.parametrize("kind", KeyAlgorithm)
def test_digests_are_signed_by_ecdsa_or_pkcs1(kind: KeyAlgorithm) -> None:
    for name, digest in DIGESTS.items():
        for family in ("RS", "ES"):
            expected = CALLS[kind].get(SignatureAlgorithm(family + name[3:]))
            if expected is not None:
                assert digest_signing(kind, digest, name) == expected


def test_messages_are_signed_by_ed25519() -> None:
    expected = CALLS[KeyAlgorithm.ED25519][SignatureAlgorithm.ED25519]
    assert message_signing(KeyAlgorithm.ED25519, MESSAGE) == expected


def test_how_keys_are_made() -> None:
    assert generation(KeyAlgorithm.RSA_4096).bits == 4096
    assert generation(KeyAlgorithm.EC_P256).mechanism is Mechanism.EC_KEY_PAIR_GEN
    assert generation(KeyAlgorithm.ED25519).key_type is KeyType.EC_EDWARDS
    for kind, (_, parameters, _) in CURVES.items():
        assert generation(kind).public_template == {Attribute.EC_PARAMS: parameters}


def test_a_key_that_may_not_sign() -> None:
    call = SigningCall(Mechanism.ECDSA, DIGEST, 64)
    with pytest.raises(MechanismUnsupported):
        sign_once(stored({}), call)
