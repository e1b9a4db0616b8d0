"""`tamga pki` on a database of its own."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.support.certificates import NOW
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi.cli.pki import pki
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import make_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tamga.toml"
    path.write_text(DEVELOPMENT_SETTINGS)
    engine = make_engine(f"sqlite:///{tmp_path}/pki.db", Realm.PKI)
    upgrade(engine, Realm.PKI)
    store = SqlCertificateStore(engine)
    end = NOW + timedelta(days=365)
    store.register(ca="citizen-ca", serial=0xABC, subject="CN=Bat Bold", not_after=end)
    store.register(ca="citizen-ca", serial=0xD, subject="CN=Twin", not_after=end)
    store.register(ca="service-ca", serial=0xD, subject="CN=Other twin", not_after=end)
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(pki, arguments, obj=config)


def test_an_unknown_serial_number_is_refused(config: Path) -> None:
    result = run(config, "suspend", "123")
    assert result.exit_code == 1
    assert "0 certificates have the serial number 123" in result.output


def test_no_serial_number_at_all_is_refused(config: Path) -> None:
    result = run(config, "suspend", "no-hex")
    assert result.exit_code == 2
    assert "hexadecimal" in result.output


def test_a_serial_number_of_two_authorities_wants_the_authority(config: Path) -> None:
    result = run(config, "suspend", "d")
    assert result.exit_code == 1
    assert "citizen-ca, service-ca" in result.output
    assert run(config, "suspend", "d", "--ca", "service-ca").exit_code == 0
    assert run(config, "suspend", "d", "--ca", "other-ca").exit_code == 1


def test_a_revoked_certificate_is_not_restored(config: Path) -> None:
    assert run(config, "revoke", "abc", "--reason", "keyCompromise").exit_code == 0
    result = run(config, "restore", "abc")
    assert result.exit_code == 1
    assert "refused: the certificate is revoked" in result.output


def test_hold_is_no_reason_to_revoke(config: Path) -> None:
    assert run(config, "revoke", "abc", "--reason", "certificateHold").exit_code == 2


def test_a_certificate_is_suspended_and_restored(config: Path) -> None:
    suspended = run(config, "suspend", "0A:BC")
    assert suspended.output == "abc is suspended now: CN=Bat Bold\n"
    restored = run(config, "restore", "abc", "--json")
    assert json.loads(restored.output) == {
        "ca": "citizen-ca",
        "serial": "abc",
        "subject": "CN=Bat Bold",
        "not_after": "2027-11-15T12:00:00+00:00",
        "state": "good",
        "since": None,
        "reason": None,
    }


def test_a_revocation_is_told_with_its_time_and_reason(config: Path) -> None:
    told = json.loads(run(config, "revoke", "abc", "--json").output)
    assert (told["state"], told["reason"]) == ("revoked", "unspecified")
    assert told["since"].endswith("+00:00")


def test_all_certificates_are_listed(config: Path) -> None:
    lines = run(config, "list").output.splitlines()
    assert lines == [
        "abc  citizen-ca  good  CN=Bat Bold",
        "d  citizen-ca  good  CN=Twin",
        "d  service-ca  good  CN=Other twin",
    ]
    listed = json.loads(run(config, "list", "--json").output)
    assert [record["serial"] for record in listed] == ["abc", "d", "d"]


def test_a_certificate_that_vanishes_meanwhile_is_told(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqlCertificateStore, "status", lambda *_: None)
    result = run(config, "suspend", "abc")
    assert result.exit_code == 1
    assert "gone" in result.output
