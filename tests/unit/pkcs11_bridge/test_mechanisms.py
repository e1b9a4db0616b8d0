"""Which keys are used, and what their mechanisms get."""

import hashlib
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pkcs11 import Attribute, KeyType, Mechanism, Object

from pkcs11_bridge.encoding import digest_info
from pkcs11_bridge.errors import KeyUnsupported, MechanismUnsupported
from pkcs11_bridge.mechanisms import (
    ED25519_PARAMETERS,
    P256_PARAMETERS,
    KeyAlgorithm,
    SigningCall,
    algorithm_of,
    digest_signing,
    generation,
    message_signing,
    public_key_of,
    sign_once,
)

DIGEST = hashlib.sha256(b"text").digest()
P384_PARAMETERS = bytes.fromhex("06052b81040022")


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
    numbers = key.public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


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
        public_key_of(ec_object(bytes(97), P384_PARAMETERS))
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
        ec.generate_private_key(ec.SECP384R1()).public_key(),
    ):
        with pytest.raises(KeyUnsupported):
            algorithm_of(key)


@pytest.mark.parametrize("wrapped", [True, False])
def test_points_with_and_without_their_octet_string(wrapped: bool) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = point_of(key)
    read = public_key_of(ec_object(b"\x04\x41" + point if wrapped else point))
    assert read == key
    assert algorithm_of(read) is KeyAlgorithm.EC_P256


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


def test_p256_signs_sha256_alone() -> None:
    with pytest.raises(MechanismUnsupported):
        digest_signing(KeyAlgorithm.EC_P256, bytes(48), "sha384")


def test_digests_and_messages_are_not_mixed() -> None:
    with pytest.raises(MechanismUnsupported):
        digest_signing(KeyAlgorithm.ED25519, DIGEST, "sha256")
    for algorithm in set(KeyAlgorithm) - {KeyAlgorithm.ED25519}:
        with pytest.raises(MechanismUnsupported):
            message_signing(algorithm, b"text")


def test_what_c_sign_gets() -> None:
    ecdsa = digest_signing(KeyAlgorithm.EC_P256, DIGEST, "sha256")
    assert ecdsa == SigningCall(Mechanism.ECDSA, DIGEST, 64)
    rsa_call = digest_signing(KeyAlgorithm.RSA_3072, DIGEST, "sha256")
    assert rsa_call == SigningCall(Mechanism.RSA_PKCS, digest_info("sha256", DIGEST), 384)
    eddsa = message_signing(KeyAlgorithm.ED25519, b"text")
    assert eddsa == SigningCall(Mechanism.EDDSA, b"text", 64)


def test_how_keys_are_made() -> None:
    assert generation(KeyAlgorithm.RSA_4096).bits == 4096
    assert generation(KeyAlgorithm.EC_P256).mechanism is Mechanism.EC_KEY_PAIR_GEN
    assert generation(KeyAlgorithm.ED25519).key_type is KeyType.EC_EDWARDS


def test_a_key_that_may_not_sign() -> None:
    call = SigningCall(Mechanism.ECDSA, DIGEST, 64)
    with pytest.raises(MechanismUnsupported):
        sign_once(stored({}), call)
