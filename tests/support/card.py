"""Virtual cards for tests: a development PKI of software keys, and running readers.

``tests/conftest.py`` registers the fixtures. They are never skipped:
a machine without pcscd, OpenSC or namespaces fails the test.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from softhsm_config.certificate_plan import SigningKey
from softhsm_config.dev_pki import CitizenCertificates, DevelopmentPki
from softhsm_config.modules import opensc_module
from softhsm_config.profiles import Citizen
from softhsm_config.virtual_card.card_file import EC_LOGIN_KEYS, RSA_LOGIN_KEYS, CardImage
from softhsm_config.virtual_card.chip_key import CardAlgorithm
from softhsm_config.virtual_card.faults import Faults
from softhsm_config.virtual_card.reader import VirtualReader
from softhsm_config.virtual_card.slots import Slot
from softhsm_config.zones import OCSP_CITIZEN_KEY, SERVICE_CA_KEY
from tests.support.signatures import report_card

NOW = datetime(2026, 11, 15, 12, 0, 0, tzinfo=UTC)
PIN = "271828"
WRONG_PIN = "314159"
CARD_EXPIRY = date(2031, 11, 15)
PLAIN_READER = "Tamga Virtual Reader"
YUBIKEY_READER = "Yubico YubiKey OTP+FIDO+CCID"
"""ykcs11 looks at readers of such a name alone; OpenSC looks at all."""
SELECT_PIV = "00 A4 04 00 05 A0 00 00 03 08 00"
EMPTY_VERIFY = "00 20 00 80"
BASE_URL = "http://127.0.0.1:8480"
CITIZEN = Citizen(given_name="Сараа", surname="Батын", civil_id="100000000001")


@cache
def software_key(label: str) -> SigningKey:
    """The key of a label, made once per process; small keys where the token has large ones."""
    if label in (OCSP_CITIZEN_KEY, SERVICE_CA_KEY):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True, slots=True)
class SoftwareCaKeys:
    """CA keys in memory (softhsm_config.ca_keys.CaKeys)."""

    name: str = ""

    def signing_key(self, label: str) -> SigningKey:
        return software_key(self.name + label)


def software_pki(directory: Path, at: datetime = NOW) -> DevelopmentPki:
    """A development PKI whose keys are in memory."""
    return DevelopmentPki.open_or_create(directory, SoftwareCaKeys(), base_url=BASE_URL, at=at)


@dataclass(frozen=True)
class CardRig:
    """A running reader with a citizen's card in it, and who issued the card."""

    reader: VirtualReader
    image: CardImage
    certificates: CitizenCertificates
    pki: DevelopmentPki
    pin: str = field(default=PIN, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment for a program that shall see this card."""
        return {**os.environ, **self.reader.environment}

    def restore(self) -> None:
        """Make the card as good as new for the next test."""
        self.reader.set_faults(Faults())
        if not self.reader.state().inserted:
            self.reader.insert_card()
        self.reader.restore_tries()

    def opensc(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of OpenSC's programs on this card; the caller judges the exit status."""
        return subprocess.run(
            [program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def pin_state(self) -> str:
        """SW1 of an empty VERIFY by another program: 90 open, 63 closed."""
        answers = self.opensc(
            "opensc-tool", "--send-apdu", SELECT_PIV, "--send-apdu", EMPTY_VERIFY
        ).stdout
        return answers.rsplit("SW1=0x", 1)[1][:2]

    def pkcs11_tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pkcs11-tool with OpenSC's module on this card."""
        return self.opensc("pkcs11-tool", "--module", str(opensc_module()), *arguments)


def _rig(directory: Path, keys: dict[Slot, CardAlgorithm], reader_name: str) -> Iterator[CardRig]:
    image = CardImage.create(directory / "card", pin=PIN, keys=keys, expires=CARD_EXPIRY)
    pki = software_pki(directory / "pki")
    certificates = pki.issue_citizen_card(image, CITIZEN, NOW)
    with VirtualReader(
        image.directory, reader_name=reader_name, traced=True, wait_seconds=60
    ) as reader:
        yield CardRig(reader, image, certificates, pki)
        report_card(opensc_module(), reader.process_id, _kind_of(keys), reader.state().signatures)


def _kind_of(keys: dict[Slot, CardAlgorithm]) -> str:
    return f"virtual card with {keys[Slot.AUTHENTICATION].name} for login"


@pytest.fixture(scope="session")
def running_rsa_card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CardRig]:
    yield from _rig(tmp_path_factory.mktemp("rsa-card"), dict(RSA_LOGIN_KEYS), YUBIKEY_READER)


@pytest.fixture(scope="session")
def running_ec_card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CardRig]:
    yield from _rig(tmp_path_factory.mktemp("ec-card"), dict(EC_LOGIN_KEYS), PLAIN_READER)


@pytest.fixture
def card_rig(running_rsa_card: CardRig) -> CardRig:
    """A card that logs in with RSA-2048, in a YubiKey's reader; inserted, tries restored."""
    running_rsa_card.restore()
    return running_rsa_card


@pytest.fixture
def ec_card_rig(running_ec_card: CardRig) -> CardRig:
    """A card that logs in with P-256, inserted, tries restored, no faults."""
    running_ec_card.restore()
    return running_ec_card
