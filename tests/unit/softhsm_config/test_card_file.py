import json
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from softhsm_config import private_files
from softhsm_config.errors import CardImageInvalid
from softhsm_config.virtual_card import card_file, piv_objects, tlv
from softhsm_config.virtual_card.card_file import EC_LOGIN_KEYS, CardImage
from softhsm_config.virtual_card.chip_key import CardAlgorithm
from softhsm_config.virtual_card.slots import Slot

PIN = "271828"
PADDED = b"271828\xff\xff"
WRONG = b"314159\xff\xff"
EXPIRES = date(2031, 11, 15)


@pytest.fixture
def image(tmp_path: Path) -> CardImage:
    return CardImage.create(tmp_path / "card", pin=PIN, keys=EC_LOGIN_KEYS, expires=EXPIRES)


@pytest.mark.parametrize("pin", ["", "123", "123456789", "12345x", "１２３４５６"])
def test_pins_of_another_form_are_refused(tmp_path: Path, pin: str) -> None:
    with pytest.raises(CardImageInvalid, match="4 to 8 digits"):
        CardImage.create(tmp_path / "card", pin=pin, keys={}, expires=EXPIRES)
    assert not (tmp_path / "card").exists()


def test_a_card_is_never_overwritten(image: CardImage) -> None:
    with pytest.raises(CardImageInvalid, match="exists already"):
        CardImage.create(image.directory, pin=PIN, keys={}, expires=EXPIRES)


def test_a_card_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".card.new").mkdir()
    (tmp_path / ".card.new" / "9a.key").write_text("half")
    made = CardImage.create(tmp_path / "card", pin=PIN, keys={}, expires=EXPIRES)
    assert made.key(Slot.AUTHENTICATION) is None
    assert not (tmp_path / ".card.new").exists()


def test_open_or_create_makes_once(tmp_path: Path) -> None:
    cards = [
        CardImage.open_or_create(tmp_path / "card", pin=PIN, keys={}, expires=EXPIRES)
        for _ in range(2)
    ]
    assert cards[0].serial == cards[1].serial


def test_everything_is_closed_to_others(image: CardImage) -> None:
    assert image.directory.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in image.directory.iterdir()} == {0o600}


def test_a_card_open_to_others_is_refused(image: CardImage) -> None:
    image.directory.chmod(0o750)
    with pytest.raises(CardImageInvalid, match="open to others"):
        CardImage.open(image.directory)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("card.json", "["),
        ("card.json", "{}"),
        ("card.json", "[]"),
        ("tries", "many"),
        ("tries", "4"),
        ("tries", "-1"),
    ],
)
def test_a_damaged_card_is_refused(image: CardImage, file: str, content: str) -> None:
    (image.directory / file).write_text(content)
    with pytest.raises(CardImageInvalid):
        CardImage.open(image.directory)


def test_a_missing_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CardImageInvalid, match="no readable card"):
        CardImage.open(tmp_path / "card")


def test_the_pin_is_in_no_file_and_no_text(image: CardImage) -> None:
    for file in image.directory.iterdir():
        assert PIN.encode() not in file.read_bytes()
    record = json.loads((image.directory / "card.json").read_text())
    assert record["pin_hash"] not in repr(image.__dict__)


def test_tries_are_on_disk(image: CardImage) -> None:
    assert not image.try_pin(WRONG)
    assert CardImage.open(image.directory).tries_left == 2
    assert image.try_pin(PADDED)
    assert CardImage.open(image.directory).tries_left == 3


def test_a_try_is_spent_before_the_comparison(
    image: CardImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unplug(padded_pin: bytes, salt: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(card_file, "_hash_pin", unplug)
    with pytest.raises(KeyboardInterrupt):
        image.try_pin(PADDED)
    assert CardImage.open(image.directory).tries_left == 2


def test_a_blocked_card_knows_no_right_pin(image: CardImage) -> None:
    for _ in range(3):
        assert not image.try_pin(WRONG)
    assert not image.try_pin(PADDED)
    image.restore_tries()
    assert image.try_pin(PADDED)


def test_keys_sign_and_stay(image: CardImage) -> None:
    again = CardImage.open(image.directory)
    key = again.key(Slot.AUTHENTICATION)
    assert key is not None
    assert key is again.key(Slot.AUTHENTICATION)
    assert key.algorithm is CardAlgorithm.EC_P256
    assert image.public_key(Slot.AUTHENTICATION) == again.public_key(Slot.AUTHENTICATION)
    assert isinstance(image.public_key(Slot.SIGNATURE), rsa.RSAPublicKey)


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        b"no key",
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP384R1())),
    ],
    ids=["text", "ed25519", "p384"],
)
def test_unusable_keys_are_refused(image: CardImage, content: bytes) -> None:
    (image.directory / "9a.key").write_bytes(content)
    with pytest.raises(CardImageInvalid, match="slot 9a"):
        image.key(Slot.AUTHENTICATION)


def test_an_empty_slot_has_no_key(image: CardImage) -> None:
    assert image.key(Slot.KEY_MANAGEMENT) is None
    with pytest.raises(CardImageInvalid, match="slot 9d is empty"):
        image.public_key(Slot.KEY_MANAGEMENT)


def test_data_objects(image: CardImage) -> None:
    tag = Slot.AUTHENTICATION.certificate_tag
    assert image.data_object(tag) is None
    image.store_certificate(Slot.AUTHENTICATION, b"der")
    assert image.data_object(tag) == bytes.fromhex("530A 7003 646572 710100 FE00")
    assert image.data_object(b"\x5f\xc1\x06") is None
    ((_, chuid),) = tlv.decode_all(image.data_object(piv_objects.CHUID_TAG) or b"")
    fields = dict(tlv.decode_all(chuid))
    assert (len(fields[0x30]), len(fields[0x34]), fields[0x35]) == (25, 16, b"20311115")
    ((_, ccc),) = tlv.decode_all(image.data_object(piv_objects.CCC_TAG) or b"")
    assert len(dict(tlv.decode_all(ccc))[0xF0]) == 21


def test_cards_differ(tmp_path: Path) -> None:
    cards = [CardImage.create(tmp_path / name, pin=PIN, keys={}, expires=EXPIRES) for name in "ab"]
    assert cards[0].serial != cards[1].serial
    tag = piv_objects.CHUID_TAG
    assert cards[0].data_object(tag) != cards[1].data_object(tag)


def test_one_reader_at_a_time(image: CardImage) -> None:
    other = CardImage.open(image.directory)
    with image.locked(), pytest.raises(CardImageInvalid, match="another reader"), other.locked():
        pass
    with other.locked():
        pass


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    private_files.write_private(path, b"old")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("softhsm_config.private_files.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        private_files.write_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
