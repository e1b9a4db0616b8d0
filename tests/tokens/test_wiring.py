"""The composition root on a real token: who may sign what, and where it is refused."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key
from pkcs11_bridge.session import TokenSessions
from signer.login.challenge import refill_stock
from signer.payload import Purpose
from signer.range_signer import LOGIN_CHALLENGE_RANGE
from tests.support.certificates import NOW
from webapi.cli.home import Ports, SettingsFacts, TokenFacts, render_settings
from webapi.config import load_settings
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.engine import opened_engine
from webapi.storage.errors import DatabaseNotCurrent
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.token_keys import SoftwareTokenInProduction, ZoneNotConfigured
from webapi.wiring import Wiring


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


def wired(directory: Path, text: str) -> Wiring:
    path = directory / "tamga.toml"
    path.write_text(text, encoding="utf-8")
    settings = load_settings(path, {})
    for realm in Realm:
        with opened_engine(settings.database.of(realm).url, realm) as engine:
            upgrade(engine, realm)
    return Wiring(settings)


@pytest.fixture
def login_wiring(tmp_path: Path, token: TokenConfig) -> Iterator[Wiring]:
    """A process that holds the login zone's PIN, and no other."""
    with TokenSessions(token) as sessions:
        generate_key(sessions, Purpose.LOGIN_CHALLENGE, KeyAlgorithm.EC_P256)
    wiring = wired(tmp_path, settings_text(tmp_path, token, token.module))
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


def test_production_refuses_a_software_token_under_any_name(
    tmp_path: Path, token: TokenConfig
) -> None:
    module = Path(shutil.copy(token.module, tmp_path / "vendor.so"))
    text = settings_text(tmp_path, token, module).replace(
        'mode = "development"', 'mode = "production"'
    )
    start = text.index("[development]")
    wiring = wired(tmp_path, text[:start] + text[text.index("[trust]") :])
    try:
        with pytest.raises(SoftwareTokenInProduction):
            wiring.keys.token("login")
    finally:
        wiring.close()
