"""The composition root on a real token: who may sign what, and where it is refused."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.description import TokenDescription
from pkcs11_bridge.errors import DeviceUnavailable
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from signer.login.challenge import refill_stock
from signer.payload import Purpose
from signer.range_signer import LOGIN_CHALLENGE_RANGE
from tests.support.certificates import NOW
from tests.support.faults import await_fact
from tests.support.mischief import Mischief
from webapi.cli.home import Ports, SettingsFacts, TokenFacts, render_settings
from webapi.config import load_settings
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.engine import opened_engine
from webapi.storage.errors import DatabaseNotCurrent
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.token_keys import SoftwareTokenInProduction, ZoneNotConfigured
from webapi.wiring import Wiring

DEVICE_ERROR = 0x30


def settings_text(directory: Path, token: TokenConfig, module: Path) -> str:
    nothing = directory / "unused"
    assert hasattr(token.pin_source, "path")
    return render_settings(
        SettingsFacts(
            directory=directory,
            ports=Ports(),
            module=module,
            softhsm2_conf=token.latch_directory.parent / "softhsm2.conf",
            latches=token.latch_directory,
            tokens={"login": TokenFacts(token.uri.token or "", token.pin_source.path)},
            tls_certificate=nothing,
            tls_key=nothing,
            root=nothing,
            national_ca=nothing,
            citizen_ca=nothing,
            delegate=nothing,
            crl_signer=nothing,
            policy="1.2.3",
            ca_name="citizen-ca",
        )
    )


def in_production(text: str) -> str:
    text = text.replace('mode = "development"', 'mode = "production"')
    return text[: text.index("[development]")] + text[text.index("[trust]") :]


def wired(directory: Path, text: str) -> Wiring:
    path = directory / "tamga.toml"
    path.write_text(text, encoding="utf-8")
    settings = load_settings(path, {})
    for realm in Realm:
        with opened_engine(settings.database.of(realm).url, realm) as engine:
            upgrade(engine, realm)
    return Wiring(settings)


@pytest.fixture
def login_token(token: TokenConfig) -> TokenConfig:
    """The login zone's, with its key."""
    with TokenSessions(token) as sessions:
        generate_key(sessions, Purpose.LOGIN_CHALLENGE, KeyAlgorithm.EC_P256)
    return token


@pytest.fixture
def login_wiring(tmp_path: Path, login_token: TokenConfig) -> Iterator[Wiring]:
    """A process that holds the login zone's PIN, and no other."""
    wiring = wired(tmp_path, settings_text(tmp_path, login_token, login_token.module))
    yield wiring
    wiring.close()


def test_a_process_without_the_receipts_pin_cannot_sign_a_checkpoint(
    login_wiring: Wiring,
) -> None:
    with pytest.raises(ZoneNotConfigured, match=r"tokens\.receipts"):
        login_wiring.keys.backend([Purpose.RECEIPT_LOG], at=NOW)


def test_the_responder_needs_its_zone(login_wiring: Wiring) -> None:
    with pytest.raises(ZoneNotConfigured, match=r"tokens\.pki"):
        login_wiring.keys.token("pki")
    without = login_wiring.settings.model_copy(update={"ocsp_listener": None})
    with pytest.raises(ZoneNotConfigured, match="ocsp_listener"):
        Wiring(without).ocsp_application()


def test_challenges_are_signed_in_the_token_under_a_recorded_range(login_wiring: Wiring) -> None:
    store = SqlChallengeStore(login_wiring.engine(Realm.LOGIN))
    policy = replace(login_wiring.stock_policy, target=3)
    signer = login_wiring.range_signers(
        Purpose.LOGIN_CHALLENGE, LOGIN_CHALLENGE_RANGE, owner="login"
    ).current(NOW)
    origin = login_wiring.settings.service.origin
    added = refill_stock(store, signer, origin=origin, policy=policy, at=NOW, stopwatch=lambda: 0.0)
    assert added == 3
    query = "SELECT purpose, owner, used FROM permit_ranges"
    with login_wiring.engine(Realm.LOGIN).begin() as connection:
        (row,) = connection.exec_driver_sql(query).all()
    assert tuple(row) == ("login-challenge", "login", None)
    login_wiring.close()
    with login_wiring.engine(Realm.LOGIN).begin() as connection:
        (row,) = connection.exec_driver_sql(query).all()
    assert row.used == 3


def test_an_unprepared_database_is_refused(tmp_path: Path, token: TokenConfig) -> None:
    path = tmp_path / "tamga.toml"
    path.write_text(settings_text(tmp_path, token, token.module), encoding="utf-8")
    with pytest.raises(DatabaseNotCurrent):
        Wiring(load_settings(path, {})).engine(Realm.LOGIN)


def with_replica(text: str, token: TokenConfig, module: Path, label: str) -> str:
    """The settings with a second token in the login zone."""
    assert isinstance(token.pin_source, FilePinSource)
    replica = (
        f'[[tokens.login.replicas]]\nmodule = "{module}"\ntoken = "{label}"\n'
        f'pin_file = "{token.pin_source.path}"\n'
    )
    return text + replica


def test_a_replica_that_hangs_costs_no_request_its_signature(
    tmp_path: Path, login_token: TokenConfig, mischief_module: Path, mischief: Mischief
) -> None:
    text = settings_text(tmp_path, login_token, login_token.module)
    label = login_token.uri.token or ""
    wiring = wired(tmp_path, with_replica(text, login_token, mischief_module, label))
    try:
        key = wiring.keys.key(Purpose.LOGIN_CHALLENGE, at=NOW)
        # That is open: only now does a call have to be given up soon.
        hanging = wiring.keys.tokens("login")[1]
        hanging.config = replace(hanging.config, call_seconds=1.5)
        with mischief.hanging("C_Sign"):
            for _ in range(4):
                assert len(key.sign_digest(bytes(32), "sha256")) == 64
            assert mischief.calls()["C_Sign"] >= 1
        await_fact(lambda: hanging.hung == 0)
    finally:
        wiring.close()


@pytest.mark.parametrize("has_hardware", [True, False])
def test_production_begins_with_one_token_of_two_and_asks_that_one_what_it_is(
    tmp_path: Path, login_token: TokenConfig, monkeypatch: pytest.MonkeyPatch, has_hardware: bool
) -> None:
    module = Path(shutil.copy(login_token.module, tmp_path / "vendor.so"))
    text = in_production(settings_text(tmp_path, login_token, module))
    wiring = wired(tmp_path, with_replica(text, login_token, module, "not there"))
    monkeypatch.setattr(TokenDescription, "is_software", not has_hardware)
    try:
        if has_hardware:
            key = wiring.keys.key(Purpose.LOGIN_CHALLENGE, at=NOW)
            assert len(key.sign_digest(bytes(32), "sha256")) == 64
        else:
            with pytest.raises(SoftwareTokenInProduction):
                wiring.keys.key(Purpose.LOGIN_CHALLENGE, at=NOW)
    finally:
        wiring.close()


def test_a_token_that_cannot_be_closed_leaves_no_other_open(
    tmp_path: Path, login_token: TokenConfig, mischief_module: Path, mischief: Mischief
) -> None:
    text = settings_text(tmp_path, login_token, mischief_module)
    label = login_token.uri.token or ""
    wiring = wired(tmp_path, with_replica(text, login_token, login_token.module, label))
    bad, sound = wiring.keys.tokens("login")
    for sessions in (bad, sound):
        sessions.open()
    mischief.answer("C_Finalize", DEVICE_ERROR, times=1)
    with pytest.raises(DeviceUnavailable):
        wiring.keys.close()
    assert not sound.is_ready
    wiring.close()


def test_production_refuses_a_software_token_under_any_name(
    tmp_path: Path, token: TokenConfig
) -> None:
    module = Path(shutil.copy(token.module, tmp_path / "vendor.so"))
    wiring = wired(tmp_path, in_production(settings_text(tmp_path, token, module)))
    try:
        with pytest.raises(SoftwareTokenInProduction):
            wiring.keys.token("login")
    finally:
        wiring.close()
