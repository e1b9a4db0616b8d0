"""The card's way through a module, on a SoftHSM token that holds a certificate."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pkcs11 import Attribute, CertificateType, ObjectClass

from pkcs11_bridge.card import CardSession, open_card
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.encoding import raw_to_der
from pkcs11_bridge.errors import (
    KeyNotFound,
    ModuleUnusable,
    PinIncorrect,
    TokenBusy,
    TokenNotFound,
)
from pkcs11_bridge.keyring import KeyAlgorithm, TokenKey, generate_key
from pkcs11_bridge.module import load_module
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.pin import Pin
from pkcs11_bridge.session import TokenSessions
from tests.support.signatures import counts_by_label
from tests.support.softhsm import PIN

DIGEST = hashlib.sha256(b"text").digest()


@dataclass(frozen=True)
class Issued:
    config: TokenConfig
    key: TokenKey
    reader: str


@pytest.fixture
def card(token: TokenConfig) -> Issued:
    """A token with a key, a certificate object of the same id and one of another."""
    with TokenSessions(token) as sessions:
        key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
        with sessions.writing_session() as session:
            reader = session.token.slot.slot_description
            for key_id in (key.uri.id, b"no key"):
                session.create_object(
                    {
                        Attribute.CLASS: ObjectClass.CERTIFICATE,
                        Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
                        Attribute.TOKEN: True,
                        Attribute.ID: key_id,
                        Attribute.LABEL: "authentication",
                        Attribute.SUBJECT: b"\x30\x00",
                        Attribute.VALUE: b"\x30\x00",
                    }
                )
    return Issued(token, key, reader)


def certificate_of(opened: CardSession, key_id: bytes | None) -> TokenCertificate:
    return next(found for found in opened.certificates() if found.id == key_id)


def test_no_module_and_no_such_reader(card: Issued, token: TokenConfig) -> None:
    with pytest.raises(ModuleUnusable), open_card(token.module.with_name("none.so"), card.reader):
        pass
    with pytest.raises(TokenNotFound), open_card(token.module, "another reader"):
        pass


def test_a_card_s_module_gets_no_locks_and_one_user_at_a_time(card: Issued, tmp_path: Path) -> None:
    own = Path(shutil.copy(card.config.module, tmp_path / "own.so"))
    with open_card(own, card.reader):
        module = load_module(own)
        assert not module.library.can_lock
        assert module.gate.one_by_one
        with pytest.raises(TokenBusy), module.gate.shared(0.01):
            pass


def test_a_wrong_pin(card: Issued) -> None:
    with open_card(card.config.module, card.reader) as opened:
        slot_id = opened.certificates()[0].slot_id
        with pytest.raises(PinIncorrect) as caught:
            opened.login(slot_id, Pin("000000"))
        assert caught.value.tries_left is None
        opened.login(slot_id, Pin(PIN))


def test_a_certificate_without_a_key(card: Issued) -> None:
    with open_card(card.config.module, card.reader) as opened:
        certificate = certificate_of(opened, b"no key")
        opened.login(certificate.slot_id, Pin(PIN))
        with pytest.raises(KeyNotFound):
            opened.sign_digest(certificate, KeyAlgorithm.EC_P256, DIGEST, "sha256")


def test_a_signature_and_what_is_left_behind(card: Issued) -> None:
    module = load_module(card.config.module)
    with open_card(card.config.module, card.reader) as opened:
        certificate = certificate_of(opened, card.key.uri.id)
        assert (certificate.label, certificate.unverified_der) == ("authentication", b"\x30\x00")
        assert opened.tries_left(certificate.slot_id) is None
        generation = module.generation
        opened.login(certificate.slot_id, Pin(PIN))
        raw = opened.sign_digest(certificate, KeyAlgorithm.EC_P256, DIGEST, "sha256")
    assert module.generation == generation + 1  # C_Finalize
    assert isinstance(card.key.public_key, ec.EllipticCurvePublicKey)
    card.key.public_key.verify(raw_to_der(raw), b"text", ec.ECDSA(hashes.SHA256()))
    assert counts_by_label()[card.config.uri.token or ""] == 1
    with TokenSessions(card.config) as sessions:  # a C_Login that was left over would show
        sessions.open()


def test_a_login_is_ended_also_when_the_caller_fails(card: Issued) -> None:
    def fail_inside() -> None:
        with open_card(card.config.module, card.reader) as opened:
            opened.login(opened.certificates()[0].slot_id, Pin(PIN))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    with TokenSessions(card.config) as sessions:
        sessions.open()
