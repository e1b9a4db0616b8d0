"""Settings: unknown keys, wrong values and software tokens in production are refused by name."""

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from signer.payload import Purpose
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi.config import ConfigurationWrong, load_settings
from webapi.storage.realm import Realm


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tamga.toml"
    path.write_text(DEVELOPMENT_SETTINGS)
    return path


def change(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file


def refused(path: Path, environ: dict[str, str] | None = None) -> dict[str, str]:
    with pytest.raises(ConfigurationWrong) as caught:
        load_settings(path, environ or {})
    for finding in caught.value.findings:
        assert finding.remedy.endswith(".")
        assert finding.key in str(caught.value)
    return {finding.key: finding.wrong for finding in caught.value.findings}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    assert refused(path) == {str(path): "cannot be read (No such file or directory)"}


@pytest.mark.parametrize("content", [b"[service", b'pin = "hunter2', b"\xff\xfe"])
def test_what_is_not_toml_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tamga.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationWrong, match="is not TOML") as caught:
        load_settings(path, {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("[service]", "[service]\nworker = 3", "service.worker"),
        ("[service]", "[servce]\nx = 1\n[service]", "servce"),
        ("[tokens.login]", "[tokens.login]\npin = '1234'", "tokens.login.pin"),
        ("[tokens.login]", "[tokens.logins]", "tokens.logins"),
        ('nonce = "require"', 'nonce = "require"\nnonces = 1', "trust.issuers.0.nonces"),
        ("softhsm2_conf", "softhsm_conf", "development.softhsm_conf"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused(file: Path, old: str, new: str, key: str) -> None:
    findings = refused(change(file, old, new))
    assert key in findings
    assert "1234" not in str(findings)


@pytest.mark.parametrize(
    "name",
    [
        "TAMGA_SERVICE__WORKER",
        "TAMGA_SERVCE__WORKERS",
        "TAMGA_SERVICE_WORKERS",
        "TAMGA_SERVICE__",
        "TAMGA___WORKERS",
        "TAMGA_LOGIN__STOCK_TARGET__X__Y",
        "TAMGA_DATABASE__LOGIN__URL__X",
    ],
)
def test_an_unknown_name_in_the_environment_is_refused(file: Path, name: str) -> None:
    assert refused(file, {name: "3"})


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('mode = "development"', 'mode = "test"', "service.mode"),
        ('mode = "development"\n', "", "service.mode"),
        ("https://localhost:8443", "http://localhost:8443", "service.origin"),
        ("https://localhost:8443", "https://localhost:8443/", "service.origin"),
        ("https://localhost:8443", "https://localhost:443", "service.origin"),
        ("https://localhost:8443", "https://Localhost:8443", "service.origin"),
        ("https://localhost:8443", "https://me@localhost:8443", "service.origin"),
        ("https://localhost:8443", "https://", "service.origin"),
        ("sqlite:///login.db", "mysql://tamga:hunter2@db/tamga", "database.login.url"),
        ("sqlite:///pki.db", "sqlite:///:memory:", "database.pki.url"),
        ("sqlite:///login.db", "sqlite:///ballots.db", "database"),
        ('roots = ["pki/root.cer"]', "roots = []", "trust"),
        ('["2.16.496.1.101.1.2.8"]', "[]", "trust.issuers.0.required_policies"),
        ('["2.16.496.1.101.1.2.8"]', '["any"]', "trust.issuers.0.required_policies.0"),
        ("http://127.0.0.1:8480", "file://etc", "trust.issuers.0.responders.0"),
        ("[receipts]", "[receipts]\nepoch_seconds = 0", "receipts.epoch_seconds"),
        ("[receipts]", "[login]\nstock_target = 0\n[receipts]", "login.stock_target"),
        ("[receipts]", "[login]\nsession_idle_seconds = 30000\n[receipts]", "login"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_do(file: Path, old: str, new: str, key: str) -> None:
    with pytest.raises(ConfigurationWrong) as caught:
        load_settings(change(file, old, new), {})
    assert caught.value.findings[0].key == key
    assert "hunter2" not in str(caught.value)


def test_every_finding_is_told_at_once(file: Path) -> None:
    change(file, 'mode = "development"', 'mode = "test"')
    change(file, 'nonce = "require"', 'nonce = "maybe"')
    assert set(refused(file)) == {"service.mode", "trust.issuers.0.nonce"}


def test_a_value_where_a_section_belongs_is_refused(file: Path) -> None:
    file.write_text('service = "x"\n')
    assert "TAMGA_SERVICE__MODE" in refused(file, {"TAMGA_SERVICE__MODE": "development"})


@pytest.mark.parametrize("through_environment", [False, True])
def test_production_refuses_a_software_token(file: Path, through_environment: bool) -> None:
    change(file, '[development]\nsofthsm2_conf = "softhsm2.conf"\n', "")
    environ = {"TAMGA_SERVICE__MODE": "production"}
    if not through_environment:
        change(file, 'mode = "development"', 'mode = "production"')
        environ = {}
    findings = refused(file, environ)
    assert findings == {
        "configuration": "tokens.login.module is a software token; production refuses it"
    }


def test_production_refuses_a_software_token_behind_a_link(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "libSoftHSM2.so"
    real.touch()
    (tmp_path / "hsm.so").symlink_to(real)
    change(file, '[development]\nsofthsm2_conf = "softhsm2.conf"\n', "")
    change(file, "/usr/lib/softhsm/libsofthsm2.so", "hsm.so")
    findings = refused(file, {"TAMGA_SERVICE__MODE": "production"})
    assert "software token" in findings["configuration"]


@pytest.mark.parametrize(
    "module",
    [
        "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
        "/usr/lib/x86_64-linux-gnu/p11-kit-proxy.so",
        "/usr/lib/x86_64-linux-gnu/libp11-kit.so.0",
    ],
)
def test_production_refuses_a_module_that_leads_to_any_other(file: Path, module: str) -> None:
    change(file, '[development]\nsofthsm2_conf = "softhsm2.conf"\n', "")
    change(file, "/usr/lib/softhsm/libsofthsm2.so", module)
    findings = refused(file, {"TAMGA_SERVICE__MODE": "production"})
    assert "software token" in findings["configuration"]


def test_production_refuses_the_development_section(file: Path) -> None:
    change(file, "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/vendor/libhsm.so")
    findings = refused(file, {"TAMGA_SERVICE__MODE": "production"})
    assert "[development]" in findings["configuration"]


def test_production_takes_a_hardware_token(file: Path) -> None:
    change(file, "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/vendor/libhsm.so")
    change(file, '[development]\nsofthsm2_conf = "softhsm2.conf"\n', "")
    settings = load_settings(file, {"TAMGA_SERVICE__MODE": "production"})
    assert settings.service.mode == "production"


def test_a_good_file_gives_paths_beside_it_and_times_with_units(file: Path) -> None:
    settings = load_settings(file, {"PATH": "/bin", "TAMGA_CONFIG": str(file)})
    folder = file.parent
    assert settings.service.tls_key == folder / "tls" / "server.key"
    assert settings.database.login.url == f"sqlite:///{folder}/login.db"
    assert settings.tokens["login"].pin_file == folder / "pins" / "login"
    assert settings.trust.issuers[0].certificates == (folder / "pki" / "citizen-ca.cer",)
    assert settings.development is not None
    assert settings.development.softhsm2_conf == folder / "softhsm2.conf"
    assert not settings.development.dangerous_development_allow_loopback_responders
    login, issuer = settings.login, settings.trust.issuers[0]
    assert login.challenge_life == timedelta(minutes=5)
    assert login.shelf_life == timedelta(hours=1)
    assert (login.session_idle, login.session_absolute) == (
        timedelta(minutes=15),
        timedelta(hours=8),
    )
    assert (issuer.skew_seconds, issuer.max_age_seconds) == (300, 86_400)
    assert issuer.person_attribute == "serialNumber"
    receipts = settings.receipts
    assert (receipts.batch_interval, receipts.epoch) == (
        timedelta(milliseconds=100),
        timedelta(minutes=10),
    )
    assert settings.ocsp_listener is None


def test_the_environment_overrides_single_values(file: Path) -> None:
    environ = {
        "TAMGA_SERVICE__LISTEN_PORT": "9443",
        "TAMGA_TOKENS__LOGIN__PIN_FILE": "elsewhere/pin",
        "TAMGA_TOKENS__LOGIN__WAIT_SECONDS": "0.5",
        "TAMGA_DEVELOPMENT__DANGEROUS_DEVELOPMENT_ALLOW_LOOPBACK_RESPONDERS": "true",
        "TAMGA_OCSP_LISTENER__CA": "citizen-ca",
        "TAMGA_OCSP_LISTENER__CA_CERTIFICATE": "pki/citizen-ca.cer",
        "TAMGA_OCSP_LISTENER__DELEGATE_CERTIFICATE": "/pki/delegate.cer",
    }
    settings = load_settings(file, environ)
    assert settings.service.listen_port == 9443
    assert settings.tokens["login"].pin_file == file.parent / "elsewhere" / "pin"
    assert settings.tokens["login"].wait_seconds == 0.5
    assert settings.development is not None
    assert settings.development.dangerous_development_allow_loopback_responders
    assert settings.ocsp_listener is not None
    assert settings.ocsp_listener.delegate_certificate == Path("/pki/delegate.cer")
    assert settings.ocsp_listener.answer_life == timedelta(minutes=1)


def test_settings_cannot_be_changed_and_hide_the_database_url(file: Path) -> None:
    settings = load_settings(file, {})
    frozen: Any = settings
    with pytest.raises(ValueError, match="frozen"):
        frozen.service = copy.copy(settings.service)
    assert "sqlite" not in repr(settings)


POSTGRESQL = """
[database.login]
url = "postgresql://login_service:hunter2@/tamga?host=/run/postgresql"
upgrade_url = "postgresql://login_owner@/tamga?host=/run/postgresql"

[database.ballots]
url = "postgresql+psycopg://ballots_service@/tamga"

[database.pki]
url = "sqlite:///pki.db"
"""


@pytest.fixture
def on_postgresql(file: Path) -> Path:
    text = file.read_text()
    start, end = text.index("[database.login]"), text.index("[tokens.login]")
    file.write_text(text[:start] + POSTGRESQL + text[end:])
    return file


def test_each_realm_may_be_on_an_engine_of_its_own(on_postgresql: Path) -> None:
    database = load_settings(on_postgresql, {}).database
    assert database.login.url.startswith("postgresql+psycopg://login_service:hunter2@/tamga?")
    assert database.login.owner_url.startswith("postgresql+psycopg://login_owner@")
    assert database.ballots.owner_url == database.ballots.url
    assert database.of(Realm.PKI).url == f"sqlite:///{on_postgresql.parent}/pki.db"
    assert "hunter2" not in repr(database)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("ballots_service", "login_service", "database"),
        ("ballots_service", "login_owner", "database"),
        ("ballots_service@/tamga", "ballots_service@/", "database.ballots.url"),
        ("ballots_service@", "", "database.ballots.url"),
        ("?host=/run/postgresql", "?options=x", "database.login.url"),
        ("sqlite:///pki.db", 'sqlite:///pki.db"\nupgrade_url = "sqlite:///x', "database.pki"),
        (
            "sqlite:///pki.db",
            'sqlite:///pki.db"\nupgrade_url = "postgresql://o@/x',
            "database.pki",
        ),
    ],
)
def test_databases_that_are_not_kept_apart_or_not_named(
    on_postgresql: Path, old: str, new: str, key: str
) -> None:
    with pytest.raises(ConfigurationWrong) as caught:
        load_settings(change(on_postgresql, old, new), {})
    assert caught.value.findings[0].key.startswith(key)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('pin_file = "pins/login"\n', ""),
        ('pin_file = "pins/login"', 'pin_file = "pins/login"\npin_source = "pinpad"'),
    ],
)
def test_a_pin_has_exactly_one_source(file: Path, old: str, new: str) -> None:
    assert "one source" in refused(change(file, old, new))["tokens.login"]


@pytest.mark.parametrize("source", ["123456", "|cat pin", "file:pin", ""])
def test_a_pin_source_of_no_known_kind_is_refused_and_not_shown(file: Path, source: str) -> None:
    findings = refused(change(file, 'pin_file = "pins/login"', f'pin_source = "{source}"'))
    assert "tokens.login.pin_source" in findings
    assert not source or source not in str(findings)


def test_a_pin_is_no_override(file: Path) -> None:
    change(file, 'pin_file = "pins/login"', 'pin_source = "env:TAMGA_PIN"')
    assert "call the PIN otherwise" in refused(file)["tokens.login"]


KEYS = """
[[keys.login-challenge]]
key = "pkcs11:object=login-challenge"
state = "current"
accepted_until = 2026-12-24T00:00:00Z

[[keys.login-challenge]]
key = "pkcs11:object=login-challenge-2027"
state = "next"
takes_over_at = 2026-12-23T00:00:00+08:00
"""


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ('state = "next"\ntakes_over_at', 'state = "current"\n#', "2 keys are current"),
        ('state = "current"', 'state = "retired"', "0 keys are current"),
        ("2026-12-24T00:00:00Z", "2026-12-20T00:00:00Z", "accepted_until"),
        ("login-challenge-2027", "login-challenge", "named twice"),
    ],
)
def test_keys_that_make_no_rotation_are_refused(file: Path, old: str, new: str, fact: str) -> None:
    file.write_text(file.read_text() + KEYS)
    assert fact in refused(change(file, old, new))["keys.login-challenge"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+08:00", ""),
        ('state = "next"', 'state = "old"'),
        ("pkcs11:object=login-challenge-2027", "login-challenge-2027"),
        ("pkcs11:object=login-challenge-2027", "pkcs11:object=a?pin-value=1234"),
    ],
)
def test_a_key_is_declared_in_one_way(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text() + KEYS)
    (key,) = refused(change(file, old, new))
    assert key.startswith("keys.login-challenge.")


def test_keys_of_no_purpose_are_refused(file: Path) -> None:
    file.write_text(file.read_text() + KEYS.replace("keys.login-challenge", "keys.login"))
    assert "keys.login" in refused(file)


def test_keys_are_declared_with_their_times(file: Path) -> None:
    file.write_text(file.read_text() + KEYS)
    current, following = load_settings(file, {}).keys[Purpose.LOGIN_CHALLENGE]
    assert current.term.accepted_until == datetime(2026, 12, 24, tzinfo=UTC)
    assert following.term.takes_over_at == datetime(2026, 12, 22, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"TAMGA_OCSP_LISTENER__CA": "crl-citizen"}, "choose another name"),
        ({"TAMGA_OCSP_LISTENER__CRL_DELTAS": "true"}, "crl_deltas needs public_url"),
    ],
)
def test_a_responder_that_cannot_serve_its_lists_is_refused(
    file: Path, changed: dict[str, str], told: str
) -> None:
    environ = {
        "TAMGA_OCSP_LISTENER__CA": "citizen-ca",
        "TAMGA_OCSP_LISTENER__CA_CERTIFICATE": "pki/citizen-ca.cer",
        "TAMGA_OCSP_LISTENER__DELEGATE_CERTIFICATE": "pki/delegate.cer",
    }
    assert load_settings(file, environ).ocsp_listener is not None
    with pytest.raises(ConfigurationWrong, match=told):
        load_settings(file, environ | changed)
