"""Keys on a real SoftHSM token: refusals first."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import pkcs11
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from pkcs11_bridge import keyring, objects
from pkcs11_bridge.capabilities import MechanismDetails, TokenCapabilities
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.encoding import HashName, raw_to_der
from pkcs11_bridge.errors import (
    DeviceUnavailable,
    ExtractableKey,
    KeyAmbiguous,
    KeyExists,
    KeyNotFound,
    KeyUnsupported,
    MechanismUnsupported,
    UriInvalid,
)
from pkcs11_bridge.keyring import (
    KeyAlgorithm,
    SignatureAlgorithm,
    TokenKey,
    generate_key,
    open_key,
)
from pkcs11_bridge.mechanisms import P256_PARAMETERS, algorithms_of_kind
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.signing_keys import ec_signing_key, rsa_signing_key
from pkcs11_bridge.uri import Pkcs11Uri
from tests.support.certificates import NOW, citizen_spec, development_like_pki
from tests.support.held_session import held_session
from tests.support.signatures import HASHES, counts_by_label, verify_signature
from tests.support.softhsm import PIN

DIGEST = hashlib.sha256(b"text").digest()


@pytest.fixture
def sessions(token: TokenConfig) -> Iterator[TokenSessions]:
    with TokenSessions(token) as opened:
        yield opened


def make_pair(
    sessions: TokenSessions,
    label: str = "key",
    key_id: bytes = b"\1",
    *,
    key_type: KeyType = KeyType.EC,
    bits: int | None = None,
    curve: bytes = P256_PARAMETERS,
    private: dict[Attribute, bool] | None = None,
) -> None:
    """A key pair that ``generate_key`` would not make."""
    with sessions.writing_session() as session:
        session.generate_keypair(
            key_type,
            bits,
            id=key_id,
            label=label,
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=pkcs11.Mechanism.EC_KEY_PAIR_GEN if bits is None else None,
            public_template={Attribute.EC_PARAMS: curve} if bits is None else {},
            private_template={
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
                **(private or {}),
            },
        )


def destroy(sessions: TokenSessions, kind: ObjectClass) -> None:
    with sessions.writing_session() as session:
        for found in list(session.get_objects({Attribute.CLASS: kind})):
            found.destroy()


@pytest.mark.parametrize(
    ("private", "attribute"),
    [
        ({Attribute.EXTRACTABLE: True}, "EXTRACTABLE is True"),
        ({Attribute.SENSITIVE: False}, "SENSITIVE is False"),
    ],
)
def test_keys_that_can_leave(
    sessions: TokenSessions, private: dict[Attribute, bool], attribute: str
) -> None:
    make_pair(sessions, private=private)
    with pytest.raises(ExtractableKey) as caught:
        open_key(sessions, Pkcs11Uri(object="key"))
    assert caught.value.attribute == attribute


def test_a_key_that_came_from_outside(sessions: TokenSessions) -> None:
    private_key = ec.generate_private_key(ec.SECP256R1())
    with sessions.writing_session() as session:
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.PRIVATE_KEY,
                Attribute.KEY_TYPE: KeyType.EC,
                Attribute.TOKEN: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
                Attribute.SIGN: True,
                Attribute.LABEL: "imported",
                Attribute.ID: b"\7",
                Attribute.EC_PARAMS: P256_PARAMETERS,
                Attribute.VALUE: private_key.private_numbers().private_value.to_bytes(32, "big"),
            }
        )
    with pytest.raises(ExtractableKey) as caught:
        open_key(sessions, Pkcs11Uri(object="imported"))
    assert caught.value.attribute == "ALWAYS_SENSITIVE is False"


def test_no_key_and_several(sessions: TokenSessions) -> None:
    with pytest.raises(KeyNotFound):
        open_key(sessions, Pkcs11Uri(object="key"))
    make_pair(sessions, key_id=b"\1")
    make_pair(sessions, key_id=b"\2")
    with pytest.raises(KeyAmbiguous) as caught:
        open_key(sessions, Pkcs11Uri(object="key"))
    assert caught.value.count == 2
    key = open_key(sessions, Pkcs11Uri(id=b"\2"))
    assert key.uri == Pkcs11Uri(token=sessions.label, object="key", id=b"\2", type="private")


def test_a_key_without_its_public_half(sessions: TokenSessions) -> None:
    make_pair(sessions)
    destroy(sessions, ObjectClass.PUBLIC_KEY)
    with pytest.raises(KeyNotFound):
        open_key(sessions, Pkcs11Uri(object="key"))


@pytest.mark.parametrize(
    "uri",
    [
        Pkcs11Uri(),
        Pkcs11Uri(object="key", type="public"),
        Pkcs11Uri(token="another", object="key"),
    ],
)
def test_uris_that_select_no_key_here(sessions: TokenSessions, uri: Pkcs11Uri) -> None:
    make_pair(sessions)
    with pytest.raises(UriInvalid):
        open_key(sessions, uri)


def test_a_serial_number_of_another_token(token: TokenConfig) -> None:
    with TokenSessions(token) as first:
        serial = first.describe().serial
    exact = replace(token, uri=replace(token.uri, serial=serial))
    with TokenSessions(exact) as sessions:
        make_pair(sessions)
        with pytest.raises(UriInvalid):
            open_key(sessions, Pkcs11Uri(serial="00", object="key"))
        open_key(sessions, Pkcs11Uri(serial=serial, object="key"))


def test_kinds_that_are_not_used(sessions: TokenSessions) -> None:
    make_pair(sessions, "p224", b"\1", curve=bytes.fromhex("06052b81040021"))
    make_pair(sessions, "small", b"\2", key_type=KeyType.RSA, bits=1024)
    for label in ("p224", "small"):
        with pytest.raises(KeyUnsupported):
            open_key(sessions, Pkcs11Uri(object=label))


def test_a_key_that_may_not_sign(sessions: TokenSessions) -> None:
    make_pair(sessions, private={Attribute.SIGN: False})
    key = open_key(sessions, Pkcs11Uri(object="key"))
    with pytest.raises(MechanismUnsupported):
        key.sign_digest(DIGEST, "sha256")


def test_a_label_is_taken_once(sessions: TokenSessions) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    with pytest.raises(KeyExists):
        generate_key(sessions, "key", KeyAlgorithm.ED25519)
    with pytest.raises(UriInvalid):
        generate_key(sessions, "", KeyAlgorithm.EC_P256)
    assert open_key(sessions, key.uri).public_key == key.public_key


def test_another_key_in_the_same_place(sessions: TokenSessions) -> None:
    make_pair(sessions)
    key = open_key(sessions, Pkcs11Uri(object="key"))
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        destroy(sessions, kind)
    with pytest.raises((KeyNotFound, DeviceUnavailable)):
        key.sign_digest(DIGEST, "sha256")
    make_pair(sessions)
    with pytest.raises(KeyNotFound):
        key.sign_digest(DIGEST, "sha256")


def test_nothing_secret_can_be_read(sessions: TokenSessions) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
    with held_session(sessions) as pooled:
        private_key = objects.find_private_key(pooled.raw, key.uri)
        with pytest.raises(pkcs11.exceptions.AttributeSensitive):
            private_key[Attribute.VALUE]


def verify(key: TokenKey, signature: bytes, hash_name: HashName) -> None:
    public_key = key.public_key
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(signature, b"text", padding.PKCS1v15(), HASHES[hash_name])
    else:
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        public_key.verify(raw_to_der(signature), b"text", ec.ECDSA(HASHES[hash_name]))


@pytest.mark.parametrize(
    ("algorithm", "names", "size"),
    [
        (KeyAlgorithm.EC_P256, ["sha256"], 64),
        (KeyAlgorithm.RSA_2048, ["sha256", "sha384", "sha512"], 256),
    ],
)
def test_digests_are_signed(
    sessions: TokenSessions, algorithm: KeyAlgorithm, names: list[HashName], size: int
) -> None:
    key = generate_key(sessions, "key", algorithm)
    assert key.algorithm is algorithm
    for name in names:
        signature = key.sign_digest(hashlib.new(name, b"text").digest(), name)
        assert len(signature) == size
        verify(key, signature, name)
    assert counts_by_label()[sessions.label] == len(names)


def test_messages_are_signed_by_ed25519(sessions: TokenSessions) -> None:
    key = generate_key(sessions, "key", KeyAlgorithm.ED25519)
    assert isinstance(key.public_key, ed25519.Ed25519PublicKey)
    for message in (b"", b"text", bytes(100_000)):
        key.public_key.verify(key.sign_message(message), message)


@pytest.mark.parametrize(
    "kind",
    [
        KeyAlgorithm.EC_P256,
        KeyAlgorithm.EC_P384,
        KeyAlgorithm.EC_P521,
        KeyAlgorithm.ED25519,
        KeyAlgorithm.RSA_2048,
    ],
)
def test_every_algorithm_of_a_kind(sessions: TokenSessions, kind: KeyAlgorithm) -> None:
    key = generate_key(sessions, "key", kind)
    assert key.signature_algorithms == set(algorithms_of_kind(kind))
    for algorithm in SignatureAlgorithm:
        if algorithm in key.signature_algorithms:
            signature = key.sign(algorithm, b"text")
            verify_signature(key.public_key, algorithm, signature, b"text")
            with pytest.raises(InvalidSignature):
                verify_signature(key.public_key, algorithm, signature, b"other text")
        else:
            with pytest.raises(MechanismUnsupported):
                key.sign(algorithm, b"text")
    assert counts_by_label()[sessions.label] == len(key.signature_algorithms)


def test_a_mechanism_that_the_token_does_not_offer(
    sessions: TokenSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_key(sessions, "key", KeyAlgorithm.RSA_2048)
    without_pss = TokenCapabilities(
        {Mechanism.RSA_PKCS: MechanismDetails(True, False, min_bits=1024, max_bits=4096)}
    )
    monkeypatch.setattr(keyring, "read_capabilities", lambda _token: without_pss)
    key = open_key(sessions, Pkcs11Uri(object="key"))
    with pytest.raises(MechanismUnsupported, match="CKM_RSA_PKCS_PSS"):
        key.sign(SignatureAlgorithm.PS256, b"text")
    with pytest.raises(MechanismUnsupported):
        generate_key(sessions, "other", KeyAlgorithm.EC_P256)
    with pytest.raises(KeyNotFound):
        open_key(sessions, Pkcs11Uri(object="other"))


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.EC_P256, KeyAlgorithm.RSA_2048])
def test_certificates_are_signed(sessions: TokenSessions, algorithm: KeyAlgorithm) -> None:
    key = generate_key(sessions, "ca", algorithm)

    def sign(message: bytes, hash_name: HashName) -> bytes:
        return key.sign_digest(hashlib.new(hash_name, message).digest(), hash_name)

    signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if isinstance(key.public_key, rsa.RSAPublicKey):
        signer = rsa_signing_key(key.public_key, sign)
    else:
        assert isinstance(key.public_key, ec.EllipticCurvePublicKey)
        signer = ec_signing_key(key.public_key, sign)
    subject = citizen_spec(development_like_pki().citizen_ca).subject
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key)
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
        .sign(signer, hashes.SHA256())
    )
    certificate.verify_directly_issued_by(certificate)


@pytest.mark.parametrize(
    ("manufacturer", "model", "is_software"),
    [
        ("SoftHSM project", "", True),
        ("", "SoftHSM v2", True),
        ("", "SoftHSM v3", True),
        ("Yubico (www.yubico.com)", "YubiKey YK5", False),
    ],
)
def test_software_is_known_by_what_the_token_says(
    sessions: TokenSessions, manufacturer: str, model: str, is_software: bool
) -> None:
    told = replace(sessions.describe(), manufacturer=manufacturer, model=model)
    assert told.is_software is is_software


def test_the_token_tells_what_it_is(sessions: TokenSessions) -> None:
    told = sessions.describe()
    assert told.label == sessions.label
    assert told.manufacturer == "SoftHSM project"
    assert told.is_software
    assert len(told.serial) == 16
    assert PIN not in repr(sessions.config)
