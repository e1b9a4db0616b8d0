"""PINs stay out of sight and come from safe places only."""

import os
import pickle
from pathlib import Path

import pytest

from pkcs11_bridge.errors import PinSourceUnreadable, UnsafePinSource
from pkcs11_bridge.pin import (
    FilePinSource,
    Pin,
    PromptPinSource,
    pin_was_refused_before,
    tries_left,
)

COUNT_LOW, FINAL_TRY, LOCKED, OTHER = 0x10000, 0x20000, 0x40000, 0x40D


def pin_file(tmp_path: Path, content: bytes = b"648219\n", mode: int = 0o600) -> Path:
    path = tmp_path / "pin"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o644, 0o666, 0o601])
def test_file_that_others_may_touch(tmp_path: Path, mode: int) -> None:
    with pytest.raises(UnsafePinSource):
        FilePinSource(pin_file(tmp_path, mode=mode)).read()


def test_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = FilePinSource(pin_file(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(UnsafePinSource):
        source.read()


def test_directory_or_pipe_instead_of_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (tmp_path, pipe):
        with pytest.raises(UnsafePinSource):
            FilePinSource(path).read()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PinSourceUnreadable):
        FilePinSource(tmp_path / "none").read()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"1" * 256, b"1" * 10_000])
def test_file_without_a_pin(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(PinSourceUnreadable) as caught:
        FilePinSource(pin_file(tmp_path, content)).read()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("typed", ["", "1" * 256, "\udcff"])
def test_prompt_without_a_pin(typed: str) -> None:
    with pytest.raises(PinSourceUnreadable) as caught:
        PromptPinSource(lambda: typed).read()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("content", "pin"), [(b"648219\n", "648219"), (b"648219", "648219")])
def test_file_with_a_pin(tmp_path: Path, content: bytes, pin: str) -> None:
    assert FilePinSource(pin_file(tmp_path, content)).read().reveal() == pin


def test_owner_may_be_denied_writing(tmp_path: Path) -> None:
    assert FilePinSource(pin_file(tmp_path, mode=0o400)).read().reveal() == "648219"


def test_prompt_with_a_pin() -> None:
    assert PromptPinSource(lambda: "648219").read().reveal() == "648219"


def test_a_pin_is_not_shown() -> None:
    pin = Pin("648219")
    for shown in (repr(pin), str(pin), f"{pin}", f"{[pin]!r}"):
        assert "648219" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(pin)


@pytest.mark.parametrize(
    ("flags", "count_low_means_two", "left"),
    [
        (LOCKED | FINAL_TRY | COUNT_LOW, True, 0),
        (FINAL_TRY | COUNT_LOW, False, 1),
        (COUNT_LOW, True, 2),
        (COUNT_LOW, False, None),
        (OTHER, True, None),
        (OTHER, False, None),
    ],
)
def test_tries_left_are_told_and_never_guessed(
    flags: int, count_low_means_two: bool, left: int | None
) -> None:
    assert tries_left(flags, count_low_means_two=count_low_means_two) == left


@pytest.mark.parametrize("flag", [COUNT_LOW, FINAL_TRY, LOCKED])
def test_flags_that_tell_of_a_wrong_pin(flag: int) -> None:
    assert pin_was_refused_before(flag | OTHER)
    assert not pin_was_refused_before(OTHER)
