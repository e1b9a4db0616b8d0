"""`tamga doctor` on homes that are well, and on homes that were broken in every part."""

import json
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.card import CardRig
from tests.support.installation import Installation, serving
from tests.support.mischief import Mischief, Trick
from tests.support.processes import assert_none_left, free_ports, processes_naming
from webapi.doctor.tokens import zone_check
from webapi.operations.checks import CheckState, run_check

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PATIENT = ("--limit", "100")
"""A machine that is busy with other tests is no ailment; what hangs is given a limit of its own."""
NOWHERE = {"PCSCLITE_CSOCK_NAME": "/nonexistent/pcscd.socket"}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor said, and how it ended."""

    code: int
    checks: dict[str, dict[str, Any]]

    def state(self, name: str) -> str:
        return str(self.checks[name]["state"])

    def seen(self, name: str) -> str:
        return str(self.checks[name]["seen"])

    @property
    def failed(self) -> set[str]:
        return {name for name, check in self.checks.items() if check["state"] == "failed"}


@dataclass(frozen=True)
class Patient(Installation):
    """A home that may be broken."""

    @property
    def config(self) -> Path:
        return self.directory / "tamga.toml"

    @property
    def latches(self) -> Path:
        return self.directory / "hsm" / "latches"

    def pin_file(self, zone: str) -> Path:
        return self.directory / "hsm" / "pins" / f"tamga-{zone}.pin"

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new, 1))

    def keep_one_zone(self, zone: str, module: str = MODULE) -> None:
        """Leave one token in the configuration, with this module."""
        text = self.config.read_text()
        for other in {"login", "receipts", "pki", "audit"} - {zone}:
            text = re.sub(rf"\[tokens\.{other}\]\n(?:[^\[\n].*\n)+\n", "", text)
        self.config.write_text(text.replace(MODULE, module))

    def examine(self, *options: str, **environment: str) -> Diagnosis:
        arguments = ("doctor", "--json", *PATIENT, *options)
        done = self.run(*arguments, **{**NOWHERE, **environment})
        assert "Traceback" not in done.stdout + done.stderr
        for pin in self.pin_file("").parent.glob("*pin"):
            assert pin.read_text().strip() not in done.stdout + done.stderr
        document = json.loads(done.stdout)
        assert document["ok"] == (done.returncode == 0)
        return Diagnosis(done.returncode, {each["name"]: each for each in document["checks"]})


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Patient:
    made = Patient(tmp_path_factory.mktemp("doctor") / "home", free_ports(2))
    done = made.run("init", "--https-port", str(made.ports[0]), "--ocsp-port", str(made.ports[1]))
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def patient(healthy: Patient, tmp_path: Path) -> Patient:
    """A copy of the home, to be broken."""
    directory = tmp_path / "home"
    shutil.copytree(healthy.directory, directory)
    configuration = directory / "hsm" / "softhsm2.conf"
    text = configuration.read_text()
    configuration.write_text(text.replace(str(healthy.directory), str(directory)))
    return Patient(directory, healthy.ports)


def test_without_a_configuration_it_says_so_and_ends_with_2(tmp_path: Path) -> None:
    found = Patient(tmp_path, []).examine()
    assert (found.code, found.failed) == (2, {"configuration"})
    assert "tamga init" in found.checks["configuration"]["remedy"]
    assert found.state("pcsc-service") == "warning"


def test_a_wrong_setting_is_named(patient: Patient) -> None:
    patient.change("listen_port", "listen_prot")
    done = patient.run("doctor", **NOWHERE)
    assert done.returncode == 2
    assert "FAILED   configuration  service.listen_prot: is not a known key" in done.stdout


def test_a_package_that_is_missing_is_named(healthy: Patient) -> None:
    script = "import sys; sys.modules['pkcs11'] = None; from webapi.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor"],
        capture_output=True,
        text=True,
        check=False,
        env=healthy.environment,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "FAILED   packages  pkcs11 cannot be loaded" in done.stdout


def test_every_ailment_is_shown_beside_the_others(patient: Patient) -> None:
    shutil.rmtree(patient.directory / "database")
    patient.change(MODULE, "/usr/lib/no/such/module.so")  # the first zone's
    patient.pin_file("receipts").unlink()
    patient.change('token = "tamga-pki"', 'token = "tamga-gone"')
    key = ec.generate_private_key(ec.SECP256R1())
    (patient.directory / "pki" / "tls.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (patient.directory / "pki" / "root-ca.cer").write_text("no certificate")
    (patient.directory / "logs").write_text("no folder")
    with socket.create_server(("127.0.0.1", patient.ports[1])):
        found = patient.examine()
    assert found.code == 1
    assert found.failed == {
        "database.login",
        "database.ballots",
        "database.pki",
        "module.login",
        "pin-file.receipts",
        "token.pki",
        "tls-key",
        "certificate.root.1",
        "trust",
        "folder.logs",
        "port.ocsp",
    }
    assert found.seen("key.receipt-log") == "not looked at, because of pin-file.receipts"
    algorithms = {row["algorithm"]: row for row in found.checks["algorithms.receipts"]["table"]}
    assert algorithms["PS256"]["mechanism"] == "CKM_RSA_PKCS_PSS"
    assert algorithms["ES256"]["keys"] == "ec-p256"
    assert "is not the key of" in found.seen("tls-key")
    assert "tamga db upgrade" in found.seen("database.login")


def _other_version(database: Path) -> None:
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = 'login_9999'")
    connection.close()


def _garbage(database: Path) -> None:
    for companion in database.parent.glob(f"{database.name}-*"):
        companion.unlink()
    database.write_bytes(b"no database" * 1000)


def _loose(database: Path) -> None:
    database.parent.chmod(0o755)


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        (_other_version, "of a later version of the service"),
        (_garbage, "the database's file cannot be opened, read or written"),
        (_loose, "must belong to the service's user"),
    ],
)
def test_a_database_that_is_not_right(
    patient: Patient, damage: Callable[[Path], None], seen: str
) -> None:
    patient.keep_one_zone("login")
    damage(patient.directory / "database" / "login.db")
    key = patient.directory / "pki" / "tls.key"
    key.chmod(0o640)
    found = patient.examine()
    realms = {"login"} if damage is not _loose else {"login", "ballots", "pki"}
    assert found.failed == {*(f"database.{realm}" for realm in realms), "tls-key"}
    assert seen in found.seen("database.login")
    assert "chmod 600" in found.checks["tls-key"]["remedy"]


def test_a_tls_key_that_is_none(patient: Patient) -> None:
    patient.keep_one_zone("login")
    key = patient.directory / "pki" / "tls.key"
    key.write_text("no key")
    assert "no usable key" in patient.examine().seen("tls-key")
    key.unlink()
    assert "is no file" in patient.examine().seen("tls-key")


def test_a_wrong_pin_reaches_the_token_once_however_often_the_doctor_comes(
    patient: Patient, mischief_module: Path, mischief: Mischief
) -> None:
    patient.keep_one_zone("login", str(mischief_module))
    patient.pin_file("login").write_text("00000000\n")
    first = patient.examine()
    assert (first.code, first.failed) == (1, {"login.login"})
    for _ in range(2):
        again = patient.examine()
        assert again.failed == {"pin-latch.login"}
        assert again.state("login.login") == "skipped"
        assert "a changed PIN clears the latch" in again.checks["pin-latch.login"]["remedy"]
    assert mischief.calls()["C_Login"] == 1


@pytest.mark.long
def test_a_hung_module_does_not_hang_the_doctor(
    patient: Patient, mischief_module: Path, mischief: Mischief
) -> None:
    patient.keep_one_zone("login", str(mischief_module))
    began = time.monotonic()
    with mischief.hanging("C_Initialize"):
        found = patient.examine("--limit", "8")
    assert time.monotonic() - began < 60
    assert found.failed == {"module.login"}
    assert found.seen("module.login") == "no answer within 8 s"
    assert found.state("pin-file.login") == "ok"
    assert found.state("tls-key") == "ok"
    assert_none_left(str(patient.directory))
    # The lock that it held is free again.
    assert patient.examine().failed == set()


@pytest.mark.long
def test_a_module_that_takes_its_process_down(
    patient: Patient, mischief_module: Path, mischief: Mischief
) -> None:
    patient.keep_one_zone("login", str(mischief_module))
    mischief.order("C_Login", Trick.KILL)
    found = patient.examine()
    mischief.calm("C_Login")
    assert found.failed == {"login.login"}
    assert found.seen("login.login") == "the process that looked was ended by SIGKILL"
    # Nobody knows what became of that try, so the doctor spends no other one.
    again = patient.examine()
    assert again.failed == {"pin-latch.login"}
    assert "never ended" in again.seen("pin-latch.login")
    assert mischief.calls()["C_Login"] == 1


def test_a_latch_folder_that_cannot_be_made_is_shown(patient: Patient) -> None:
    patient.keep_one_zone("login")
    shutil.rmtree(patient.latches)
    patient.latches.write_text("no folder")
    found = patient.examine()
    assert found.failed == {"module.login"}
    assert str(patient.latches) in found.seen("module.login")
    assert "pin_latch_directory" in found.checks["module.login"]["remedy"]


def test_what_nobody_foresaw_is_told_by_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A configuration that vanishes while the doctor is at work.
    check = zone_check("pki", tmp_path / "gone.toml", timedelta(seconds=30), tokens=1)
    found = list(run_check(check))
    assert found[0].name == "pin-file.pki"
    assert found[0].seen == "the check ended in ConfigurationWrong"
    assert {result.state for result in found[1:]} == {CheckState.SKIPPED}
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert "could not begin" in next(iter(run_check(check))).seen


def test_a_healthy_home(healthy: Patient) -> None:
    done = healthy.run("doctor", *PATIENT, **NOWHERE)
    assert done.returncode == 0, done.stdout
    assert "ok       key.receipt-log-ed25519  ed25519, cannot leave the token" in done.stdout
    assert re.search(r"ES384 +CKM_ECDSA +ec-p384 +software", done.stdout)
    assert "warning  challenge-stock" in done.stdout
    assert "         -> Start the service" in done.stdout
    assert "FAILED" not in done.stdout
    assert not list(healthy.latches.glob("*.latch"))
    assert not processes_naming(str(healthy.directory))


def test_where_a_card_is_wanted_a_missing_one_is_a_failure(
    patient: Patient, card_rig: CardRig
) -> None:
    patient.keep_one_zone("login")
    assert patient.examine("--card").failed == {"pcsc-service"}
    found = patient.examine("--card", **dict(card_rig.reader.environment))
    assert (found.code, found.state("card")) == (0, "ok")


@pytest.mark.long
def test_a_service_that_runs_is_recognised_by_its_ports(healthy: Patient) -> None:
    with serving(healthy):
        found = healthy.examine()
    assert found.code == 0
    assert "answered by this service" in found.seen("port.https")
    assert "answered by this service" in found.seen("port.ocsp")
    assert found.state("challenge-stock") == "ok"
