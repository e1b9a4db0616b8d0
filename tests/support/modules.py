"""Real PKCS#11 modules with a token each, made alike for the one suite that runs on all of them.

A module or program that is not installed fails the test that asks for it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from pkcs11_bridge.keyring import KeyAlgorithm, SignatureAlgorithm
from pkcs11_bridge.mechanisms import algorithms_of_kind
from softhsm_config.modules import opensc_module
from softhsm_config.virtual_card.card_file import CardImage
from softhsm_config.virtual_card.chip_key import CardAlgorithm
from softhsm_config.virtual_card.reader import VirtualReader
from softhsm_config.virtual_card.slots import Slot
from tests.support import card, softhsm
from tests.support.p11_kit import p11_kit_server
from tests.support.signatures import report_card
from tests.support.tpm import PIN as TPM_PIN
from tests.support.tpm import TOKEN as TPM_TOKEN
from tests.support.tpm import software_tpm

ANSWER_SECONDS = 60.0
WRONG_PIN = "000000"
YUBIKEY_READER = "Yubico YubiKey OTP+FIDO+CCID"
LIBRARY_FOLDER = opensc_module().parent

_PSS = frozenset({SignatureAlgorithm.PS256, SignatureAlgorithm.PS384, SignatureAlgorithm.PS512})
_CURVES = (KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P384, KeyAlgorithm.EC_P521)
_SOFTHSM_KINDS = (*_CURVES, KeyAlgorithm.ED25519, KeyAlgorithm.RSA_2048)


class Refused(Exception):
    """The worker met a TokenError; the text is its class."""


@dataclass(frozen=True)
class TokenAway:
    """A way to take a token away and to bring it back.

    Attributes:
        take: takes it away.
        bring_back: brings it back.
        refusals: what the next calls are answered with, one after the other.
    """

    take: Callable[[], None]
    bring_back: Callable[[], None]
    refusals: tuple[str, ...]


@dataclass(frozen=True)
class ModuleRig:
    """One module with a token that holds keys.

    Attributes:
        name: of the module, for people.
        module: its path.
        token: the token's label.
        pin: the user's.
        environment: leads the module to its token.
        keys: URI of the one key of each kind that the token has.
        unsupported: algorithms of these kinds that the module does not offer.
        wrong_pin: what a wrong PIN is answered with.
        away: where the token can be taken away without ending the module's process.
        restore: makes the token as good as new after a wrong PIN.
    """

    name: str
    module: Path
    token: str
    pin: str = field(repr=False)
    environment: Mapping[str, str]
    keys: Mapping[KeyAlgorithm, str]
    unsupported: frozenset[SignatureAlgorithm] = frozenset()
    wrong_pin: str = "PinIncorrect"
    away: TokenAway | None = None
    restore: Callable[[], None] = lambda: None
    folder: Path = Path()

    def algorithms(self, kind: KeyAlgorithm) -> set[SignatureAlgorithm]:
        """What a key of this kind signs with here."""
        return set(algorithms_of_kind(kind)) - self.unsupported

    def pin_file(self, name: str, pin: str) -> Path:
        path = self.folder / f"{name}.pin"
        path.touch(mode=0o600)
        path.write_text(pin + "\n", encoding="utf-8")
        return path


class ModuleWorker:
    """A process of its own that uses a rig's token (`tests.support.module_worker`)."""

    def __init__(self, rig: ModuleRig) -> None:
        self.rig = rig
        order = {
            "module": str(rig.module),
            "token": rig.token,
            "pin_file": str(rig.pin_file("right", rig.pin)),
            "latches": str(rig.folder / "latches"),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.module_worker", json.dumps(order)],
            env={**os.environ, **rig.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def process_id(self) -> int:
        return self._process.pid

    def ask(self, task: str, **arguments: object) -> Any:
        """What the worker tells; raises Refused."""
        self.begin(task, **arguments)
        return self.answer()

    def await_signature(self, after: float = 0.0) -> None:
        """Wait until its load has signed after an instant, monotonic seconds."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self.ask("has_signed_since", at=after):
            assert time.monotonic() < deadline, "no signature"
            time.sleep(0.01)

    def begin(self, task: str, **arguments: object) -> None:
        """Give it a task; `answer` waits for what it tells."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # pytest's own limit ends a wait in vain
        assert line, f"the process of {self.rig.name} ended with {self._process.wait(10)}"
        told = json.loads(line)
        if "refused" in told:
            raise Refused(told["refused"])
        return told["told"]

    def close(self) -> None:
        """Note its signatures and let it end by itself; a crash at its end fails the test."""
        for label, count in self.ask("counts").items():
            told = f"token {label} of {self.rig.name}"
            report_card(self.rig.module, self.process_id, told, count)
        self._process.communicate(timeout=ANSWER_SECONDS)
        assert self._process.returncode == 0

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def worker(rig: ModuleRig) -> Iterator[ModuleWorker]:
    """A worker that must end in order."""
    made = ModuleWorker(rig)
    try:
        yield made
        made.close()
    finally:
        made.kill()


def _with_generated_keys(rig: ModuleRig, kinds: tuple[KeyAlgorithm, ...]) -> ModuleRig:
    with worker(rig) as generating:
        keys = {kind: generating.ask("generate", label=kind, kind=kind) for kind in kinds}
    return replace(rig, keys=keys)


@contextmanager
def softhsm_rig(folder: Path) -> Iterator[ModuleRig]:
    """SoftHSM in process."""
    made = softhsm.make_softhsm(folder / "softhsm")
    made.make_token("svc", softhsm.PIN)
    environment = {"SOFTHSM2_CONF": str(made.conf)}
    rig = ModuleRig("SoftHSM", softhsm.MODULE, "svc", softhsm.PIN, environment, {}, folder=folder)
    yield _with_generated_keys(rig, _SOFTHSM_KINDS)


@contextmanager
def p11_kit_rig(folder: Path) -> Iterator[ModuleRig]:
    """p11-kit's client, and its server before SoftHSM in processes of their own."""
    with p11_kit_server(folder, "svc", softhsm.PIN) as server:
        rig = ModuleRig(
            "p11-kit",
            LIBRARY_FOLDER / "pkcs11" / "p11-kit-client.so",
            "svc",
            softhsm.PIN,
            server.environment,
            {},
            away=TokenAway(server.kill, server.start, ("DeviceUnavailable", "TokenNotFound")),
            folder=folder,
        )
        # p11-kit 0.24 hands on the mechanisms that it knows; CKM_EDDSA is not among them.
        yield _with_generated_keys(rig, (*_CURVES, KeyAlgorithm.RSA_2048))


@contextmanager
def tpm_rig(folder: Path) -> Iterator[ModuleRig]:
    """tpm2-pkcs11 on a TPM 2.0 in software."""
    kinds = {
        KeyAlgorithm.EC_P256: "EC:prime256v1",
        KeyAlgorithm.EC_P384: "EC:secp384r1",
        KeyAlgorithm.RSA_2048: "RSA:2048",
    }
    with software_tpm(folder, LIBRARY_FOLDER / "libtpm2_pkcs11.so.1") as tpm:
        tpm.make_token()
        for number, (kind, key_type) in enumerate(kinds.items(), start=1):
            tpm.make_key(kind, key_type, f"{number:02}")
        keys = {kind: f"pkcs11:token={TPM_TOKEN};object={kind}" for kind in kinds}
        yield ModuleRig(
            "TPM",
            tpm.module,
            TPM_TOKEN,
            TPM_PIN,
            tpm.environment,
            keys,
            unsupported=_PSS,
            folder=folder,
        )


@contextmanager
def _yubikey(folder: Path) -> Iterator[tuple[VirtualReader, CardImage]]:
    """A card with an RSA key for logins and a P-256 key for doors, in a YubiKey's reader."""
    keys = {
        Slot.AUTHENTICATION: CardAlgorithm.RSA_2048,
        Slot.SIGNATURE: CardAlgorithm.RSA_2048,
        Slot.CARD_AUTHENTICATION: CardAlgorithm.EC_P256,
    }
    image = CardImage.create(folder / "card", pin=card.PIN, keys=keys, expires=card.CARD_EXPIRY)
    pki = card.software_pki(folder / "pki")
    pki.issue_citizen_card(image, card.CITIZEN, card.NOW)
    door = _self_issued(image.public_key(Slot.CARD_AUTHENTICATION))
    image.store_certificate(Slot.CARD_AUTHENTICATION, door)
    with VirtualReader(image.directory, reader_name=YUBIKEY_READER, wait_seconds=60) as reader:
        yield reader, image


def _self_issued(public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    """A certificate that only carries a public key: card modules read it nowhere else."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "card authentication")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(1)
        .not_valid_before(card.NOW)
        .not_valid_after(card.NOW + timedelta(days=365))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def _card_rig(name: str, module: Path, token: str, reader: VirtualReader) -> ModuleRig:
    keys = {KeyAlgorithm.RSA_2048: "pkcs11:id=%01", KeyAlgorithm.EC_P256: "pkcs11:id=%04"}
    return ModuleRig(
        name,
        module,
        token,
        card.PIN,
        reader.environment,
        keys,
        restore=reader.restore_tries,
    )


@contextmanager
def opensc_rig(folder: Path) -> Iterator[ModuleRig]:
    """OpenSC on a PIV card, which it names after its holder."""
    label = f"{card.CITIZEN.surname} {card.CITIZEN.given_name}"
    with _yubikey(folder) as (reader, _):
        away = TokenAway(reader.remove_card, reader.insert_card, ("CardRemoved", "TokenNotFound"))
        made = _card_rig("OpenSC", opensc_module(), label, reader)
        yield replace(made, folder=folder, away=away)


@contextmanager
def ykcs11_rig(folder: Path) -> Iterator[ModuleRig]:
    """Yubico's module on a PIV card; it tells that two tries are left."""
    module = LIBRARY_FOLDER / "libykcs11.so.2"
    with _yubikey(folder) as (reader, image):
        label = f"YubiKey PIV #{image.serial}"
        away = TokenAway(
            reader.remove_card, reader.insert_card, ("DeviceUnavailable", "TokenNotFound")
        )
        made = _card_rig("ykcs11", module, label, reader)
        yield replace(made, folder=folder, away=away, wrong_pin="PinIncorrect 2")


Rig = Callable[[Path], AbstractContextManager[ModuleRig]]

RIGS: Mapping[str, Rig] = {
    "libsofthsm2": softhsm_rig,
    "p11-kit-client": p11_kit_rig,
    "libtpm2_pkcs11": tpm_rig,
    "opensc-pkcs11": opensc_rig,
    "libykcs11": ykcs11_rig,
}
"""By what the module's file is called: the run fails if one of them is asked for and silent."""


@contextmanager
def module_rig(name: str) -> Iterator[ModuleRig]:
    """A rig in a folder of its own, with a path that is short enough for sockets."""
    folder = Path(tempfile.mkdtemp(prefix="tamga-"))
    try:
        with RIGS[name](folder) as made:
            assert made.module.is_file(), f"{made.module} is not installed"
            assert name in made.module.name
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=RIGS)
def rig(request: pytest.FixtureRequest) -> Iterator[ModuleRig]:
    """Every module in turn; a test that is for some of them names them (``indirect``)."""
    with module_rig(request.param) as made:
        yield made
