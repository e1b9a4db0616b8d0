"""The commands: `election create/list/show` and `receipt verify`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from signer.receipts.note import NotePublicKey
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import BALLOT, PURPOSES, TrialElection, public_keys, receipt_parts
from tests.support.software_signer import SoftwareBackend
from webapi.cli import elections as elections_cli
from webapi.cli import receipts as receipts_cli
from webapi.cli.elections import election
from webapi.cli.receipts import receipt
from webapi.elections.office import ElectionOffice

TRIAL = TrialElection()


def pem(path: Path, key: PublicKeyTypes) -> str:
    path.write_bytes(
        key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return str(path)


class Desk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = ReceiptDisk(folder, TRIAL)
        self.office = ElectionOffice(
            self.disk.elections, self.disk.vault, lambda: public_keys(TRIAL.signer), list
        )

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(election, arguments, obj=lambda: self.office)

    def create(self, *more: str, key: PublicKeyTypes | None = None) -> Result:
        system = pem(self.folder / "system.pem", key or TRIAL.system_key.public_key())
        return self.run(
            "create",
            TRIAL.election_id,
            "--title=Trial",
            "--domain=receipts.example.mn",
            "--opens-at=2026-11-21T08:00:00+08:00",
            "--closes-at=2026-11-22T08:00:00Z",
            f"--system-key={system}",
            *more,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_elections_are_created_listed_and_shown(desk: Desk) -> None:
    standby = [
        f"--standby-key={pem(desk.folder / purpose, TRIAL.standby.keys[purpose].public_key())}"
        for purpose in PURPOSES
    ]
    created = desk.create(*standby, "--json")
    assert created.exit_code == 0, created.output
    members = json.loads(created.output)
    assert members["origin"] == f"receipts.example.mn/{TRIAL.election_id}"
    assert members["opens_at"] == "2026-11-21T00:00:00+00:00"
    listed = desk.run("list")
    assert f"{TRIAL.election_id}  open" in listed.output
    assert json.loads(desk.run("list", "--json").output) == [members]
    shown = desk.run("show", TRIAL.election_id)
    assert members["policy_sha256"] in shown.output
    assert desk.disk.log.log_state(TRIAL.election_id).entries == 1


def test_an_election_is_created_once(desk: Desk) -> None:
    desk.create()
    again = desk.create()
    assert again.exit_code == 1
    assert "exists" in again.output


def test_creating_an_election_again_makes_no_new_key(desk: Desk) -> None:
    desk.create()
    desk.disk.vault.erase_key(TRIAL.election_id)
    assert desk.create().exit_code == 1
    assert list((desk.folder / "salts").iterdir()) == []


def test_plans_that_are_refused(desk: Desk) -> None:
    assert "window ends before" in desk.create("--closes-at=2026-11-20T08:00:00Z").output
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    assert "P-256" in desk.create(key=p384).output
    ed25519 = TRIAL.signer.keys[PURPOSES[1]].public_key()
    assert "ECDSA P-256" in desk.create(key=ed25519).output
    assert desk.run("list").output == ""


@pytest.mark.parametrize(
    "time", ["tomorrow", "2026-11-21T08:00:00", "2026-11-21T08:00:00.5Z", "2026-11-21"]
)
def test_times_that_are_refused(desk: Desk, time: str) -> None:
    assert desk.create(f"--opens-at={time}").exit_code == 2


def test_keys_that_are_refused(desk: Desk) -> None:
    assert desk.create(f"--standby-key={desk.folder / 'absent'}").exit_code == 2
    rsa_key = rsa.generate_private_key(65_537, 2048).public_key()
    refused = desk.create(f"--standby-key={pem(desk.folder / 'rsa', rsa_key)}")
    assert "neither" in refused.output


def test_an_election_that_is_not_there(desk: Desk) -> None:
    assert desk.run("show", "absent").exit_code == 1


def test_the_office_of_a_configuration_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class FakeWiring:
        closed = 0

        def __init__(self, settings: Path) -> None:
            assert settings == tmp_path / "tamga.toml"
            self.settings = self
            self.receipts = self
            self.salt_key_directory = tmp_path / "salts"
            self.keys = self
            self.engine = lambda _realm: desk.disk.engine

        def backend(self, purposes: object, *, at: object) -> SoftwareBackend:
            return TRIAL.signer

        def next_public_keys(self, purposes: object, *, at: object) -> list[NotePublicKey]:
            return []

        def close(self) -> None:
            FakeWiring.closed += 1

    monkeypatch.setattr(elections_cli, "load_settings", lambda path, _environ: path)
    monkeypatch.setattr(elections_cli, "Wiring", FakeWiring)
    system = pem(tmp_path / "system.pem", TRIAL.system_key.public_key())
    result = CliRunner().invoke(
        election,
        [
            "create",
            "by-file",
            "--title=T",
            "--domain=d.example",
            "--opens-at=2026-11-21T08:00:00Z",
            "--closes-at=2026-11-22T08:00:00Z",
            f"--system-key={system}",
            "--standby-key",
            system,
        ],
        obj=tmp_path / "tamga.toml",
    )
    assert result.exit_code == 0, result.output
    assert FakeWiring.closed == 2


# Receipts.


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "r.tlog-proof").write_bytes(receipt_parts(TRIAL).make())
    (tmp_path / "ballot").write_bytes(BALLOT)
    (tmp_path / "policy").write_bytes(TRIAL.manifest().policy())
    return tmp_path


def verify(files: Path, *more: str) -> Result:
    arguments = [
        "verify",
        f"--receipt={files / 'r.tlog-proof'}",
        f"--ballot={files / 'ballot'}",
        f"--policy={files / 'policy'}",
        *more,
    ]
    return CliRunner().invoke(receipt, arguments)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["r.tlog-proof", "ballot", "policy"])
def test_one_flipped_bit_in_any_file(files: Path, name: str) -> None:
    flip(files / name)
    result = verify(files)
    assert result.exit_code == 1
    assert result.output.startswith("REFUSED (")
    members = json.loads(verify(files, "--json").output)
    assert members["verified"] is False
    assert members["reason"] in result.output


def test_a_good_receipt(files: Path) -> None:
    result = verify(files)
    assert result.exit_code == 0, result.output
    fingerprint = TRIAL.manifest().policy_sha256.hex()
    assert fingerprint in result.output
    members = json.loads(verify(files, "--json").output)
    assert members["policy_sha256"] == fingerprint
    assert (members["index"], members["size"]) == (3, 7)
    assert members["keys"] == ["ECDSA_P256", "ED25519"]


def test_too_large_a_ballot(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_cli, "MAX_BALLOT_BYTES", 5)
    result = verify(files)
    assert (result.exit_code, "longer than 5 bytes" in result.output) == (1, True)


def test_files_that_are_not_there(files: Path) -> None:
    (files / "ballot").unlink()
    assert verify(files).exit_code == 2
