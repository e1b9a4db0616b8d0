"""A card image: the directory that is the chip's memory.

    card.json        serial, GUID, expiry, salted PIN hash
    tries            PIN tries left, durable before every comparison
    9a.key, 9a.cer   private key (PKCS#8 PEM) and certificate (DER) of a slot; 9c, 9d, 9e alike

The directory is owner-only, as the chip would be; whoever can read it owns the card.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from softhsm_config.errors import CardImageInvalid, InputUnfit
from softhsm_config.private_files import is_private, make_private_directory, write_private
from softhsm_config.virtual_card import piv_objects
from softhsm_config.virtual_card.chip_key import CardAlgorithm, ChipKey, chip_key
from softhsm_config.virtual_card.slots import Slot

PIN_TRIES = 3
PIN_BYTES = 8
CARD_FILE = "card.json"
TRIES_FILE = "tries"

RSA_LOGIN_KEYS: Mapping[Slot, CardAlgorithm] = {
    Slot.AUTHENTICATION: CardAlgorithm.RSA_2048,
    Slot.SIGNATURE: CardAlgorithm.EC_P256,
}
"""A card that logs in with RSA-2048 and signs documents with P-256."""
EC_LOGIN_KEYS: Mapping[Slot, CardAlgorithm] = {
    Slot.AUTHENTICATION: CardAlgorithm.EC_P256,
    Slot.SIGNATURE: CardAlgorithm.RSA_2048,
}
"""The other way round."""

_PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class _CardRecord:
    serial: int
    guid: str
    expires: str
    pin_salt: str = field(repr=False)
    pin_hash: str = field(repr=False)


class CardImage:
    """One card's memory (piv.CardMemory) with the issuer's operations to fill it."""

    def __init__(self, directory: Path, record: _CardRecord) -> None:
        self._directory = directory
        self._record = record
        self._keys: dict[Slot, ChipKey] = {}

    @classmethod
    def create(
        cls, directory: Path, *, pin: str, keys: Mapping[Slot, CardAlgorithm], expires: date
    ) -> Self:
        """Make a card with fresh keys, serial and GUID, at once or not at all.

        Args:
            directory: Must not exist; its parent must.
            pin: 4 to 8 ASCII digits.
            keys: Key type of each slot that gets a key.
            expires: Expiry date in the card holder identifier.

        Raises:
            CardImageInvalid: The PIN is of another form, or the directory exists.
        """
        if not (4 <= len(pin) <= PIN_BYTES and pin.isascii() and pin.isdigit()):
            raise CardImageInvalid("a card PIN has 4 to 8 digits")
        if directory.exists():
            raise CardImageInvalid(f"{directory} exists already")
        unfinished = directory.with_name(f".{directory.name}.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        make_private_directory(unfinished)
        salt = secrets.token_bytes(16)
        record = _CardRecord(
            serial=secrets.randbits(31),
            guid=secrets.token_hex(16),
            expires=expires.strftime("%Y%m%d"),
            pin_salt=salt.hex(),
            pin_hash=_hash_pin(_padded(pin), salt).hex(),
        )
        write_private(unfinished / CARD_FILE, json.dumps(asdict(record)).encode())
        write_private(unfinished / TRIES_FILE, str(PIN_TRIES).encode())
        for slot, algorithm in keys.items():
            write_private(unfinished / f"{slot.file_stem}.key", _generate_pem(algorithm))
        unfinished.rename(directory)
        return cls(directory, record)

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open a card made before.

        Raises:
            CardImageInvalid: Missing, malformed, or open to group or others.
        """
        try:
            if not is_private(directory):
                raise CardImageInvalid(f"{directory} is open to others")
            unverified = json.loads((directory / CARD_FILE).read_bytes())
            image = cls(directory, _CardRecord(**unverified))
            image._read_tries()
        except (OSError, ValueError, TypeError) as e:
            raise CardImageInvalid(f"{directory} holds no readable card") from e
        return image

    @classmethod
    def open_or_create(
        cls, directory: Path, *, pin: str, keys: Mapping[Slot, CardAlgorithm], expires: date
    ) -> Self:
        """Open the card if there is one (with the PIN it was made with), else make it.

        Raises:
            CardImageInvalid: As `open` and `create`.
        """
        if directory.exists():
            return cls.open(directory)
        return cls.create(directory, pin=pin, keys=keys, expires=expires)

    @property
    def directory(self) -> Path:
        """Where the card lies."""
        return self._directory

    @property
    def serial(self) -> int:
        """Card serial number, 31 random bits."""
        return self._record.serial

    @property
    def tries_left(self) -> int:
        """PIN tries left, 0 when blocked."""
        return self._read_tries()

    def data_object(self, tag: bytes) -> bytes | None:
        """Return a PIV data object, None if this card has none with the tag."""
        if tag == piv_objects.CHUID_TAG:
            return piv_objects.chuid(bytes.fromhex(self._record.guid), self._record.expires)
        if tag == piv_objects.CCC_TAG:
            return piv_objects.ccc(bytes.fromhex(self._record.guid))
        for slot in Slot:
            if slot.certificate_tag == tag and (der := self.certificate(slot)) is not None:
                return piv_objects.certificate(der)
        return None

    def certificate(self, slot: Slot) -> bytes | None:
        """Return the DER certificate in a slot, None if there is none."""
        path = self._directory / f"{slot.file_stem}.cer"
        return path.read_bytes() if path.exists() else None

    def store_certificate(self, slot: Slot, certificate_der: bytes) -> None:
        """Put the issuer's certificate for a slot's key on the card."""
        write_private(self._directory / f"{slot.file_stem}.cer", certificate_der)

    def public_key(self, slot: Slot) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """Return the public half of a slot's key, for the issuer.

        Raises:
            CardImageInvalid: The slot has no usable key.
        """
        key = self._load_key(slot)
        if key is None:
            raise CardImageInvalid(f"slot {slot.file_stem} is empty")
        return key.public_key()

    def key(self, slot: Slot) -> ChipKey | None:
        """Return the chip's private key of a slot, None if the slot is empty."""
        if slot not in self._keys:
            private_key = self._load_key(slot)
            if private_key is None:
                return None
            try:
                self._keys[slot] = chip_key(private_key)
            except InputUnfit as e:
                raise CardImageInvalid(f"slot {slot.file_stem} holds no card key") from e
        return self._keys[slot]

    def try_pin(self, padded_pin: bytes) -> bool:
        """Spend a try on disk, then compare: pulling the plug in between gains nothing."""
        tries = self.tries_left
        if tries == 0:
            return False
        self._write_tries(tries - 1)
        given = _hash_pin(padded_pin, bytes.fromhex(self._record.pin_salt))
        if not hmac.compare_digest(given, bytes.fromhex(self._record.pin_hash)):
            return False
        self._write_tries(PIN_TRIES)
        return True

    def restore_tries(self) -> None:
        """Unblock the PIN, as an issuer's desk does."""
        self._write_tries(PIN_TRIES)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the card for one reader: a card is in one place at a time.

        Raises:
            CardImageInvalid: Another reader holds it.
        """
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                raise CardImageInvalid(f"{self._directory} is in another reader") from e
            yield
        finally:
            os.close(directory)

    def _read_tries(self) -> int:
        tries = int((self._directory / TRIES_FILE).read_text(encoding="ascii"))
        if not 0 <= tries <= PIN_TRIES:
            raise CardImageInvalid(f"{self._directory} holds an impossible number of PIN tries")
        return tries

    def _write_tries(self, tries: int) -> None:
        write_private(self._directory / TRIES_FILE, str(tries).encode())

    def _load_key(self, slot: Slot) -> _PrivateKey | None:
        path = self._directory / f"{slot.file_stem}.key"
        if not path.exists():
            return None
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as e:
            raise CardImageInvalid(f"slot {slot.file_stem} holds no key") from e
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise CardImageInvalid(f"slot {slot.file_stem} holds neither an RSA nor an EC key")
        return key


def _padded(pin: str) -> bytes:
    return pin.encode().ljust(PIN_BYTES, b"\xff")


def _hash_pin(padded_pin: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(padded_pin, salt=salt, n=1 << 12, r=8, p=1)


def _generate_pem(algorithm: CardAlgorithm) -> bytes:
    key: _PrivateKey
    match algorithm:
        case CardAlgorithm.RSA_2048:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case CardAlgorithm.EC_P256:
            key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
