"""Cards through OpenSC and ykcs11: pulled at each step, left closed on each way out, PIN pads.

The matrix is long; one case of each kind is in every run.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from softhsm_config.modules import opensc_module, ykcs11_module
from softhsm_config.virtual_card.faults import Faults
from tests.support.card import PIN, SELECT_PIV, CardRig
from tests.support.card_process import STEPS

MODULES = {"opensc": opensc_module, "ykcs11": ykcs11_module}
GENERAL_AUTHENTICATE = "0087079a"
VERIFY_PIN = "00 20 00 80 08 " + PIN.encode().ljust(8, b"\xff").hex(" ")
TAMGA = "from webapi.cli import main; main()"


@dataclass(frozen=True)
class Desk:
    rig: CardRig
    directory: Path

    def process(self, module: Path, task: str, **environment: str) -> Any:
        """What tests.support.card_process answers."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.support.card_process"),
                *(str(module), str(self.rig.reader.control_socket), task),
            ],
            env={**self.rig.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        assert done.returncode == 0, done.stderr
        assert PIN not in done.stdout + done.stderr
        return json.loads(done.stdout)

    def card_test(self, module: Path | None, *options: str) -> list[str]:
        """`tamga card test` with the right PIN."""
        pin_file = self.directory / "pin"
        pin_file.touch(mode=0o600)
        pin_file.write_text(PIN)
        command = [sys.executable, "-c", TAMGA, "card", "test", "--json"]
        command += ["--pin-file", str(pin_file), *options]
        return command if module is None else [*command, "--module", str(module)]

    def run(self, command: list[str]) -> tuple[int, Any, str]:
        done = subprocess.run(
            command,
            env=self.rig.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout), done.stderr

    def pin_state(self) -> str:
        """As another program finds it: 90 open, 63 closed."""
        return self.rig.pin_state()


@pytest.fixture
def desk(card_rig: CardRig, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(card_rig, tmp_path)
    # Out for long enough that the next test's reader is not found half asleep.
    if not card_rig.reader.state().inserted:
        card_rig.reader.insert_card()


def matrix(rows: list[tuple[Any, ...]], short: set[tuple[Any, ...]]) -> list[Any]:
    """Parameters of which only the short ones are in every run."""
    assert short <= set(rows)
    marks = [() if row in short else (pytest.mark.long,) for row in rows]
    return [pytest.param(*row, marks=mark) for row, mark in zip(rows, marks, strict=True)]


PULLS = matrix(
    [(module, step) for module in MODULES for step in STEPS],
    {("opensc", "asked"), ("ykcs11", "verified")},
)


@pytest.mark.parametrize(("module", "step"), PULLS)
def test_a_card_pulled_at_each_step_is_told_and_the_next_login_works(
    desk: Desk, module: str, step: str
) -> None:
    answer = desk.process(MODULES[module](), step)
    if step == "signed":
        assert answer["first"] == {}
    else:
        assert answer["first"]["code"] == "card-removed"
        assert answer["first"]["advice"].startswith("The card was taken out too soon.")
        assert "tries_left" not in answer["first"]
    assert answer["second"] == {}
    assert desk.rig.reader.state().tries_left == 3
    assert desk.pin_state() == "63"


ENDS = matrix(
    [(module, end) for module in MODULES for end in ("done", "SIGTERM", "SIGINT", "SIGHUP")],
    {("ykcs11", "done"), ("ykcs11", "SIGTERM")},
)


@pytest.mark.parametrize(("module", "end"), ENDS)
def test_no_other_program_finds_the_card_open(desk: Desk, module: str, end: str) -> None:
    if end == "done":
        code, answer, _ = desk.run(desk.card_test(MODULES[module]()))
        assert (code, answer["verified"]) == (0, True)
    else:
        number = getattr(signal, end)
        assert interrupted(desk, MODULES[module](), number) == 128 + number
    assert desk.pin_state() == "63"


def interrupted(desk: Desk, module: Path, number: signal.Signals) -> int:
    """Exit status of a test that was sent a signal while the card signs, with the PIN verified."""
    desk.rig.reader.set_faults(Faults(signing_seconds=4.0))
    seen = len(desk.rig.reader.trace)
    signing = subprocess.Popen(
        desk.card_test(module),
        env=desk.rig.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while GENERAL_AUTHENTICATE not in desk.rig.reader.trace[seen:]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    signing.send_signal(number)
    status = signing.wait(timeout=60)
    desk.rig.reader.set_faults(Faults())
    return status


@pytest.mark.parametrize("module", matrix([(name,) for name in MODULES], {("opensc",)}))
def test_a_card_that_a_crashed_program_left_open_is_closed_before_anything_else(
    desk: Desk, module: str
) -> None:
    """An open PIV card tells no count: the count that is told shows that it was closed first."""
    left = desk.rig.opensc("opensc-tool", "--send-apdu", SELECT_PIV, "--send-apdu", VERIFY_PIN)
    assert "SW1=0x90" in left.stdout
    assert desk.pin_state() == "90"
    code, answer, told = desk.run(desk.card_test(MODULES[module]()))
    assert (code, answer["verified"]) == (0, True)
    assert "PIN tries left: 3" in told
    assert desk.pin_state() == "63"


@pytest.mark.long
@pytest.mark.parametrize("module", MODULES)
def test_a_killed_program_harms_no_later_login(desk: Desk, module: str) -> None:
    assert interrupted(desk, MODULES[module](), signal.SIGKILL) == -signal.SIGKILL
    time.sleep(6.0)  # the card's answer to the dead program
    code, answer, told = desk.run(desk.card_test(MODULES[module]()))
    assert (code, answer["verified"]) == (0, True)
    assert "PIN tries left: 3" in told
    assert desk.pin_state() == "63"


@pytest.mark.parametrize("module", MODULES)
def test_a_key_that_asks_each_time_signs_twice(desk: Desk, module: str) -> None:
    before = desk.rig.reader.state().signatures
    answer = desk.process(MODULES[module](), "again")
    assert answer == {"pin_pad": False, "verified": 2}
    assert desk.rig.reader.state().signatures == before + 2
    assert desk.pin_state() == "63"


@pytest.fixture(scope="session")
def pin_pad_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader with keys of its own (pin_pad.c), compiled for this run."""
    module = tmp_path_factory.mktemp("pin-pad") / "pin_pad.so"
    source = Path(__file__).parents[1] / "support" / "pin_pad.c"
    options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *options, "-o", str(module), str(source)], check=True)
    return module


@pytest.mark.parametrize("module", matrix([(name,) for name in MODULES], {("opensc",)}))
def test_on_a_pin_pad_no_program_sees_the_pin(
    desk: Desk, pin_pad_module: Path, module: str
) -> None:
    log = desk.directory / "typed"
    answer = desk.process(
        pin_pad_module,
        "again",
        PIN_PAD_MODULE=str(MODULES[module]()),
        PIN_PAD_PIN=PIN,
        PIN_PAD_LOG=str(log),
    )
    assert answer == {"pin_pad": True, "verified": 2}
    # One login, and the PIN again for each of two signatures.
    assert log.read_text().split() == ["1", "2", "2"]


def test_the_person_is_told_to_type_on_the_reader_and_may_cancel(
    desk: Desk, pin_pad_module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIN_PAD_MODULE", str(opensc_module()))
    monkeypatch.setenv("PIN_PAD_PIN", "")
    code, answer, told = desk.run(desk.card_test(pin_pad_module))
    assert (code, answer["error"]["code"]) == (4, "canceled-at-device")
    assert "Type the PIN on the card reader." in told
    assert desk.rig.reader.state().tries_left == 3


def test_the_monitor_sees_cards_and_the_service_come_and_go(desk: Desk) -> None:
    told = desk.process(opensc_module(), "watch")
    assert told[:3] == ["service-up", "reader-added", "card-inserted"]
    named = [event for event in told if event != "reader-added"]
    # pcscd puts its readers away before it ends: a look in between finds them gone already.
    down = named.index("service-down")
    while named[down - 1] in ("card-removed", "reader-removed"):
        down -= 1
        del named[down]
    assert named == [
        *("service-up", "card-inserted", "card-removed", "card-inserted", "service-down"),
        *("service-up", "card-inserted"),
    ]
    desk.rig.reader.restart_service()
    assert desk.rig.reader.state().inserted


def test_a_yubikey_gets_its_own_module_and_another_reader_opensc(
    desk: Desk, ec_card_rig: CardRig
) -> None:
    code, answer, _ = desk.run(desk.card_test(None))
    assert (code, answer["label"]) == (0, "X.509 Certificate for PIV Authentication")
    other = Desk(ec_card_rig, desk.directory)
    code, answer, _ = other.run(other.card_test(None))
    assert (code, answer["label"]) == (0, "Certificate for PIV Authentication")
    assert answer["algorithm"] == "ES256"
