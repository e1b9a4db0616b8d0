"""PIN sources as settings name them."""

import os
import pickle
from pathlib import Path

import pytest

from pkcs11_bridge import pin_sources
from pkcs11_bridge.errors import Misconfigured, PinSourceUnreadable, UnsafePinSource
from pkcs11_bridge.pin import Pin, PinpadEntry
from pkcs11_bridge.pin_sources import nobody_to_ask, parse_pin_source

PIN = "648219"
PROTECTED_AUTHENTICATION_PATH = 0x100


def read(text: str) -> Pin:
    return parse_pin_source(text, nobody_to_ask).read()


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(pin_sources.CREDENTIALS_VARIABLE, str(tmp_path))
    (tmp_path / "login-pin").write_text(PIN + "\n")
    (tmp_path / "login-pin").chmod(0o400)
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "",
        PIN,
        "file:pin",
        "file:",
        "|cat /etc/pin",
        "env:",
        "env:1A",
        "env:A B",
        "credential:",
        "credential:..",
        "credential:a/b",
        "prompt:",
        "pinpad ",
        "Prompt",
    ],
)
def test_a_text_that_names_no_source_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(PinSourceUnreadable) as caught:
        parse_pin_source(text, nobody_to_ask)
    assert PIN not in str(caught.value)


def test_nobody_is_asked_by_a_process() -> None:
    with pytest.raises(PinSourceUnreadable, match="terminal"):
        read("prompt")


def test_a_person_is_asked() -> None:
    assert parse_pin_source("prompt", lambda: PIN).read().reveal() == PIN


def test_a_variable_that_is_not_set() -> None:
    with pytest.raises(PinSourceUnreadable, match="NO_SUCH_PIN"):
        read("env:NO_SUCH_PIN")


def test_a_variable_is_taken_out_of_the_environment_and_kept_for_later_logins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pin_sources, "_taken", {})
    monkeypatch.setenv("LOGIN_PIN", PIN)
    assert read("env:LOGIN_PIN").reveal() == PIN
    assert "LOGIN_PIN" not in os.environ
    assert read("env:LOGIN_PIN").reveal() == PIN
    assert PIN not in repr(parse_pin_source("env:LOGIN_PIN", nobody_to_ask))


def test_a_variable_that_is_set_anew_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pin_sources, "_taken", {"LOGIN_PIN": Pin("111111")})
    monkeypatch.setenv("LOGIN_PIN", PIN)
    assert read("env:LOGIN_PIN").reveal() == PIN


def test_without_systemd_there_is_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pin_sources.CREDENTIALS_VARIABLE, raising=False)
    with pytest.raises(PinSourceUnreadable, match="LoadCredential=login-pin"):
        read("credential:login-pin")
    monkeypatch.setenv(pin_sources.CREDENTIALS_VARIABLE, "relative")
    with pytest.raises(PinSourceUnreadable):
        read("credential:login-pin")


def test_a_credential_that_the_unit_was_not_given(credentials: Path) -> None:
    with pytest.raises(PinSourceUnreadable, match="audit-pin"):
        read("credential:audit-pin")


@pytest.mark.parametrize("mode", [0o404, 0o420, 0o602, 0o444])
def test_a_credential_that_others_may_touch(credentials: Path, mode: int) -> None:
    (credentials / "login-pin").chmod(mode)
    with pytest.raises(UnsafePinSource):
        read("credential:login-pin")


def test_a_credential_of_another_user(credentials: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(credentials / "login-pin", 4711, -1)
    with pytest.raises(UnsafePinSource, match="another user"):
        read("credential:login-pin")


def test_a_credential(credentials: Path) -> None:
    assert read("credential:login-pin").reveal() == PIN
    # As systemd leaves it where the file system has access lists: the mask shows as the group's.
    (credentials / "login-pin").chmod(0o440)
    assert read("credential:login-pin").reveal() == PIN


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text(PIN)
    (tmp_path / "pin").chmod(0o600)
    assert read(f"file:{tmp_path}/pin").reveal() == PIN


def test_a_token_without_a_pinpad_is_no_place_to_type() -> None:
    entry = read("pinpad")
    with pytest.raises(Misconfigured, match="no pinpad"):
        entry.login_argument(0)


def test_what_is_typed_on_a_pinpad_is_nobodys_to_print() -> None:
    entry = read("pinpad")
    assert isinstance(entry, PinpadEntry)
    assert not isinstance(entry.login_argument(PROTECTED_AUTHENTICATION_PATH), str)
    assert repr(entry) == "Pin(hidden)"
    with pytest.raises(TypeError):
        pickle.dumps(entry)
