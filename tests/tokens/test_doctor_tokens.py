"""What the doctor says of a real SoftHSM token, looked at in this process."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from pkcs11_bridge import inspection, keyring
from pkcs11_bridge.capabilities import MechanismDetails, TokenCapabilities
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import PinIncorrect
from pkcs11_bridge.inspection import SeenToken, look_at_token
from pkcs11_bridge.keyring import KeyAlgorithm, SignatureAlgorithm, generate_key
from pkcs11_bridge.login import log_in
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from signer.payload import Purpose
from tests.support.certificates import development_like_pki
from tests.support.mischief import Mischief
from tests.support.softhsm import SoftHsm
from tests.tokens.test_wiring import settings_text, with_replica
from webapi.config import load_settings
from webapi.doctor import zone
from webapi.doctor.zone import look_at_zone
from webapi.operations.checks import CheckResult, CheckState
from webapi.wiring import Wiring

KEY = "key.login-challenge"


@pytest.fixture
def keyed(token: TokenConfig) -> TokenConfig:
    with TokenSessions(token) as sessions:
        generate_key(sessions, Purpose.LOGIN_CHALLENGE, KeyAlgorithm.EC_P256)
    return token


@pytest.fixture
def wiring(tmp_path: Path, keyed: TokenConfig) -> Iterator[Wiring]:
    made = wiring_of(tmp_path, keyed)
    yield made
    made.close()


def wiring_of(directory: Path, token: TokenConfig, *, production: bool = False) -> Wiring:
    text = settings_text(directory, token, token.module)
    if production:
        text = text.replace('mode = "development"', 'mode = "production"')
        text = text[: text.index("[development]")] + text[text.index("[trust]") :]
    config = directory / "tamga.toml"
    config.write_text(text, encoding="utf-8")
    return Wiring(load_settings(config, {}))


def pin_path(token: TokenConfig) -> Path:
    assert isinstance(token.pin_source, FilePinSource)
    return token.pin_source.path


def last(wiring: Wiring) -> CheckResult:
    return list(look_at_zone(wiring, "login"))[-1]


def destroy_keys(token: TokenConfig) -> None:
    with TokenSessions(token) as sessions, sessions.writing_session() as session:
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            for key in list(session.get_objects({Attribute.CLASS: kind})):
                key.destroy()


def test_a_missing_key(wiring: Wiring, keyed: TokenConfig) -> None:
    destroy_keys(keyed)
    found = last(wiring)
    assert (found.name, found.state) == (KEY, CheckState.FAILED)
    assert "pinned anew" in found.remedy


def test_an_extractable_key(wiring: Wiring, keyed: TokenConfig) -> None:
    destroy_keys(keyed)
    with TokenSessions(keyed) as sessions, sessions.writing_session() as session:
        parameters = session.create_domain_parameters(
            KeyType.EC,
            {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        parameters.generate_keypair(
            id=b"1",
            label=Purpose.LOGIN_CHALLENGE.value,
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
        )
    found = last(wiring)
    assert (found.name, found.state) == (KEY, CheckState.FAILED)
    assert "SENSITIVE is False" in found.seen


def test_an_rsa_key_where_none_belongs(wiring: Wiring, keyed: TokenConfig) -> None:
    destroy_keys(keyed)
    with TokenSessions(keyed) as sessions:
        generate_key(sessions, Purpose.LOGIN_CHALLENGE, KeyAlgorithm.RSA_2048)
    found = last(wiring)
    assert (found.name, found.state) == (KEY, CheckState.FAILED)
    assert "P-256" in found.remedy


def test_the_last_try_is_a_persons(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_left(config: TokenConfig) -> SeenToken:
        return replace(look_at_token(config), tries_left=1)

    monkeypatch.setattr(zone, "look_at_token", one_left)
    monkeypatch.setattr(TokenSessions, "open", lambda _sessions: pytest.fail("a try was spent"))
    found = last(wiring)
    assert (found.name, found.state) == ("login.login", CheckState.FAILED)
    assert "1 PIN tries are left" in found.seen


def test_another_users_files_are_left_alone(
    wiring: Wiring, keyed: TokenConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: real + 1)
    found = list(look_at_zone(wiring, "login"))
    assert [result.name for result in found] == ["pin-file.login", "pin-latch.login"]
    assert "as the service's user" in found[1].remedy


def test_a_pin_file_that_others_may_read_hides_only_what_needs_the_pin(
    wiring: Wiring, keyed: TokenConfig
) -> None:
    pin_path(keyed).chmod(0o644)
    found = list(look_at_zone(wiring, "login"))
    assert [(result.name, result.state) for result in found] == [
        ("pin-file.login", CheckState.FAILED),
        ("module.login", CheckState.OK),
        ("token.login", CheckState.OK),
        ("algorithms.login", CheckState.OK),
    ]
    assert "chmod 600" in found[0].remedy


def test_a_wrong_pin_is_told_once_and_then_its_latch(wiring: Wiring, keyed: TokenConfig) -> None:
    pin_path(keyed).write_text("000000\n")
    assert last(wiring).name == "login.login"
    found = last(wiring)
    assert (found.name, found.state) == ("pin-latch.login", CheckState.FAILED)
    assert "refused this PIN on 20" in found.seen
    assert str(keyed.latch_directory) in found.remedy
    assert "000000" not in str(found)


def test_a_latch_of_an_earlier_pin_is_no_obstacle(wiring: Wiring, keyed: TokenConfig) -> None:
    right = pin_path(keyed).read_text()
    pin_path(keyed).write_text("000000\n")
    with pytest.raises(PinIncorrect):
        TokenSessions(keyed).open()
    pin_path(keyed).write_text(right)
    assert {result.state for result in look_at_zone(wiring, "login")} == {CheckState.OK}


def test_a_latch_that_cannot_be_read(wiring: Wiring, keyed: TokenConfig) -> None:
    pin_path(keyed).write_text("000000\n")
    with pytest.raises(PinIncorrect):
        TokenSessions(keyed).open()
    for latch in keyed.latch_directory.glob("*.latch"):
        latch.write_text("{")
    found = last(wiring)
    assert (found.name, "cannot be read" in found.seen) == ("pin-latch.login", True)


def test_a_deleted_token(wiring: Wiring, keyed: TokenConfig, softhsm: SoftHsm) -> None:
    command = ["softhsm2-util", "--delete-token", "--token", keyed.uri.token or ""]
    subprocess.run(command, check=True, capture_output=True, env=softhsm.environment)
    found = last(wiring)
    assert (found.name, found.state) == ("token.login", CheckState.FAILED)
    assert "initialise the token" in found.remedy


def test_what_the_token_signs_with_is_shown_as_a_table(wiring: Wiring) -> None:
    found = {result.name: result for result in look_at_zone(wiring, "login")}["algorithms.login"]
    assert found.state is CheckState.OK
    rows = {row["algorithm"]: row for row in found.table}
    assert list(rows) == list(SignatureAlgorithm)
    assert rows["ES256"] == {
        "algorithm": "ES256",
        "mechanism": "CKM_ECDSA",
        "keys": "ec-p256",
        "where": "software",
    }
    assert rows["PS384"]["keys"] == "rsa-2048, rsa-3072, rsa-4096"


def test_a_key_of_a_kind_that_the_token_cannot_sign_with(
    wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_rsa = TokenCapabilities(
        {Mechanism.RSA_PKCS: MechanismDetails(True, False, min_bits=1024, max_bits=4096)}
    )
    monkeypatch.setattr(keyring, "read_capabilities", lambda _token: only_rsa)
    found = last(wiring)
    assert (found.name, found.state) == (KEY, CheckState.FAILED)
    assert "no CKM_ECDSA for 256 bits" in found.seen
    assert "algorithms.login" in found.remedy


def test_a_token_that_signs_nothing(wiring: Wiring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "read_capabilities", lambda _token: TokenCapabilities({}))
    found = {result.name: result for result in look_at_zone(wiring, "login")}["algorithms.login"]
    assert (found.state, found.table) == (CheckState.FAILED, ())


def test_a_software_token_in_production(tmp_path: Path, keyed: TokenConfig) -> None:
    module = Path(shutil.copy(keyed.module, tmp_path / "vendor.so"))
    wiring = wiring_of(tmp_path, replace(keyed, module=module), production=True)
    found = last(wiring)
    assert (found.name, found.seen) == ("token.login", "it is a software token")


def test_a_file_that_is_no_module(tmp_path: Path, keyed: TokenConfig) -> None:
    module = tmp_path / "vendor.so"
    module.write_text("no module")
    found = last(wiring_of(tmp_path, replace(keyed, module=module)))
    assert (found.name, found.state) == ("module.login", CheckState.FAILED)


@pytest.mark.parametrize(
    ("purpose", "setting"),
    [
        (Purpose.OCSP_CITIZEN_CA, "delegate_certificate"),
        (Purpose.CRL_CITIZEN_CA, "crl_certificate"),
    ],
)
def test_a_certificate_of_another_key(
    tmp_path: Path, token: TokenConfig, purpose: Purpose, setting: str
) -> None:
    with TokenSessions(token) as sessions:
        generate_key(sessions, purpose, KeyAlgorithm.EC_P256)
    text = settings_text(tmp_path, token, token.module).replace("[tokens.login]", "[tokens.pki]")
    config = tmp_path / "tamga.toml"
    config.write_text(text, encoding="utf-8")
    wiring = Wiring(load_settings(config, {}))
    try:
        listener = wiring.settings.ocsp_listener
        assert listener is not None
        # While there is none, another check tells so.
        found = {result.name: result for result in look_at_zone(wiring, "pki")}
        assert found[f"key.{purpose}"].state is CheckState.OK
        getattr(listener, setting).write_bytes(development_like_pki().delegate.der)
        found = {result.name: result for result in look_at_zone(wiring, "pki")}
    finally:
        wiring.close()
    assert found[f"key.{purpose}"].state is CheckState.FAILED
    assert "not the key of" in found[f"key.{purpose}"].seen


def replicated(directory: Path, token: TokenConfig, module: Path, label: str) -> Wiring:
    config = directory / "tamga.toml"
    text = settings_text(directory, token, token.module)
    config.write_text(with_replica(text, token, module, label), encoding="utf-8")
    return Wiring(load_settings(config, {}))


@pytest.fixture
def two_tokens(
    tmp_path: Path, keyed: TokenConfig, mischief_module: Path, mischief: Mischief
) -> Iterator[Wiring]:
    """A zone of two tokens with one key: the same through two modules."""
    del mischief
    with closing(replicated(tmp_path, keyed, mischief_module, keyed.uri.token or "")) as wiring:
        yield wiring


def test_each_token_of_a_zone_is_looked_at(two_tokens: Wiring) -> None:
    found = list(look_at_zone(two_tokens, "login"))
    assert [result.name for result in found] == list(zone.result_names("login", 2))
    assert {result.state for result in found} == {CheckState.OK}
    assert found[-1].name == "keys.login.2"


def test_a_replica_without_the_key(tmp_path: Path, keyed: TokenConfig, softhsm: SoftHsm) -> None:
    other = softhsm.make_token(f"{keyed.uri.token}-other")
    label = other.uri.token or ""
    with closing(replicated(tmp_path, keyed, keyed.module, label)) as wiring:
        found = list(look_at_zone(wiring, "login"))[-1]
    assert (found.name, found.state) == ("keys.login.2", CheckState.FAILED)
    assert "pinned anew" in found.remedy


def test_a_replica_with_another_key_of_the_same_name(
    tmp_path: Path, keyed: TokenConfig, softhsm: SoftHsm
) -> None:
    other = softhsm.make_token(f"{keyed.uri.token}-other")
    with TokenSessions(other) as sessions:
        generate_key(sessions, Purpose.LOGIN_CHALLENGE, KeyAlgorithm.EC_P256)
    label = other.uri.token or ""
    with closing(replicated(tmp_path, keyed, keyed.module, label)) as wiring:
        found = list(look_at_zone(wiring, "login"))[-1]
    assert (found.name, found.state) == ("keys.login.2", CheckState.FAILED)
    assert "another key" in found.seen
    assert "Replicate" in found.remedy


def test_a_replica_that_is_not_there(tmp_path: Path, keyed: TokenConfig) -> None:
    with closing(replicated(tmp_path, keyed, keyed.module, "nowhere")) as wiring:
        found = {result.name: result for result in look_at_zone(wiring, "login")}
    assert found[KEY].state is CheckState.OK
    assert found["token.login.2"].state is CheckState.FAILED
    assert "keys.login.2" not in found


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """By which module each login was made, in their order."""
    made = list[str]()

    def noting(config: TokenConfig, *rest: Any) -> Any:
        made.append(config.module.name)
        return log_in(config, *rest)

    monkeypatch.setattr("pkcs11_bridge.session.log_in", noting)
    return made


@pytest.mark.parametrize("number", [1, 2])
def test_a_token_with_one_try_left_is_not_logged_in_to_while_another_is_looked_at(
    two_tokens: Wiring, logins: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    modules = [config.module.name for config in two_tokens.keys.token_configs("login")]
    last_try = modules[number - 1]

    def look(config: TokenConfig) -> SeenToken:
        left = 1 if config.module.name == last_try else 3
        return replace(look_at_token(config), tries_left=left)

    monkeypatch.setattr(zone, "look_at_token", look)
    found = {result.name: result for result in look_at_zone(two_tokens, "login")}
    assert logins == [name for name in modules if name != last_try]
    login = found["login.login" if number == 1 else "login.login.2"]
    assert "1 PIN tries are left" in login.seen
    if number == 1:
        assert found["keys.login.2"].state is CheckState.SKIPPED
    else:
        assert found[KEY].state is CheckState.OK
        assert "keys.login.2" not in found


def test_a_key_that_only_the_replica_has_is_missed_on_the_first(
    tmp_path: Path, keyed: TokenConfig, softhsm: SoftHsm
) -> None:
    other = softhsm.make_token(f"{keyed.uri.token}-other")
    with TokenSessions(other) as sessions:
        generate_key(sessions, Purpose.LOGIN_CHALLENGE, KeyAlgorithm.EC_P256)
    destroy_keys(keyed)
    label = other.uri.token or ""
    with closing(replicated(tmp_path, keyed, keyed.module, label)) as wiring:
        found = {result.name: result for result in look_at_zone(wiring, "login")}
    assert found[KEY].state is CheckState.FAILED
    assert found["keys.login.2"].state is CheckState.SKIPPED
    assert KEY in found["keys.login.2"].seen
