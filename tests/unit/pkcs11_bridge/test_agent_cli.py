"""The agent's command line: exit codes, error JSON, and the PIN's way."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs11_bridge import errors
from pkcs11_bridge.agent import cli
from pkcs11_bridge.agent import errors as agent_errors
from pkcs11_bridge.agent.authenticate import UnconfirmedOriginAccepted
from pkcs11_bridge.agent.origins import OriginPins, origins_document
from pkcs11_bridge.agent.person import Person
from pkcs11_bridge.agent.terminal import Terminal
from pkcs11_bridge.agent.words import advice
from pkcs11_bridge.readers import Reader

ORIGIN = "https://login.example.mn"
REQUEST = json.dumps({"challengeNonce": "n" * 44, "origin": ORIGIN})


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    # In this process they would outlive the test.
    monkeypatch.setattr(cli, "forbid_core_dumps", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    path = tmp_path / "origins.json"
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    path.touch(mode=0o600)
    path.write_text(origins_document({ORIGIN: OriginPins(key, None)}))
    return ["authenticate", REQUEST, "--origins", str(path), "--module", "/usr/lib/module.so"]


@pytest.mark.parametrize(
    ("error", "exit_code", "told"),
    [
        (agent_errors.ProofMissing("x"), 3, {"code": "proof-missing"}),
        (agent_errors.OriginNotConfirmed(ORIGIN), 3, {"code": "origin-not-confirmed"}),
        (agent_errors.FinalTryRefused("x"), 4, {"code": "final-try-refused"}),
        (errors.PinIncorrect(2), 4, {"code": "pin-incorrect", "tries_left": 2}),
        (errors.PinIncorrect(None), 4, {"code": "pin-incorrect"}),
        (errors.NoReader("x"), 4, {"code": "no-reader"}),
        (errors.ModuleUnusable("x"), 5, {"code": "module-unusable"}),
        (errors.TokenBusy("x"), 6, {"code": "token-busy"}),
        (errors.KeyNotFound("x"), 7, {"code": "key-not-found"}),
        (agent_errors.CertificateAmbiguous(2), 7, {"code": "certificate-ambiguous"}),
        (agent_errors.CardSignatureInvalid("x"), 7, {"code": "card-signature-invalid"}),
        (agent_errors.OriginInvalid("x"), 8, {"code": "origin-invalid"}),
    ],
)
def test_refusals(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    exit_code: int,
    told: dict[str, Any],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "authenticate", refuse)
    result = CliRunner().invoke(cli.main, [*arguments, "--language", "mn"])
    assert result.exit_code == exit_code
    answer = json.loads(result.stdout)["error"]
    assert answer == {**told, "message": str(error), "advice": advice(error, "mn")}
    assert answer["advice"] in result.stderr


@pytest.mark.parametrize("request_json", ["", "{}", '{"origin": "o"}'])
def test_malformed_request(arguments: list[str], request_json: str) -> None:
    arguments[1] = request_json
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 8
    assert json.loads(result.stdout)["error"]["code"] == "request-invalid"


def test_malformed_origins_file(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "origins.json").write_text("{}")
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 8
    assert json.loads(result.stdout)["error"]["code"] == "origins-file-invalid"


def test_a_pin_is_no_argument(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli.main, [*arguments, "--pin", "648219"]).exit_code == 2


def test_what_is_handed_on(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def sign(
        origin: str, nonce: str, origins: object, module_for: Any, person: Person, **more: Any
    ) -> dict[str, str]:
        seen.update(more, module=module_for(Reader("R", b"")), person=person)
        seen["pin"] = person.pin().reveal()
        return {"format": "web-eid:1.0"}

    monkeypatch.setattr(cli, "authenticate", sign)
    options = ["--accept-unconfirmed-origin", "--spend-final-try", "--wait", "3", "--reader", "R"]
    result = CliRunner().invoke(cli.main, [*arguments, *options], input="648219\n")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"format": "web-eid:1.0"}
    assert "648219" not in result.output
    assert seen["accepted"] == UnconfirmedOriginAccepted(ORIGIN)
    assert (seen["wait_seconds"], seen["reader_name"]) == (3, "R")
    assert seen["module"] == Path("/usr/lib/module.so")
    assert seen["person"].may_spend_final_try
    assert not seen["person"].interactive
    assert seen["pin"] == "648219"
    assert seen["at"].tzinfo is not None


def test_a_pin_file_is_read_by_its_rules(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    people: list[Terminal] = []

    def sign(*arguments: Any, **_: Any) -> dict[str, str]:
        people.append(arguments[4])
        return {}

    monkeypatch.setattr(cli, "authenticate", sign)
    path = tmp_path / "pin"
    result = CliRunner().invoke(cli.main, [*arguments, "--pin-file", str(path)])
    assert result.exit_code == 0
    assert people[0].pin_file == path


@pytest.mark.parametrize(
    ("options", "page", "spoken"),
    [((), "en", "en"), ((), "mn", "mn"), (("--language", "mn"), "en", "mn")],
)
def test_the_page_s_language_is_spoken_unless_another_is_chosen(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    page: str,
    spoken: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise errors.NoCard("none")

    monkeypatch.setattr(cli, "authenticate", refuse)
    arguments[1] = json.dumps({**json.loads(REQUEST), "lang": page})
    result = CliRunner().invoke(cli.main, [*arguments, *options])
    assert ("Put it in" in result.stderr) == (spoken == "en")
    assert ("Картаа" in result.stderr) == (spoken == "mn")


def test_a_card_that_no_profile_knows_is_told(arguments: list[str], tmp_path: Path) -> None:
    """Profiles that cannot be relied on are refused before any card is touched."""
    profiles = tmp_path / "cards.toml"
    profiles.write_text("[[profile]]\nname = 'x'\nmodule = '/usr/lib/x.so'\n")
    without = arguments[: arguments.index("--module")]
    result = CliRunner().invoke(cli.main, [*without, "--profiles", str(profiles)])
    assert result.exit_code == 5
    assert json.loads(result.stdout)["error"]["code"] == "card-profiles-invalid"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_process_leaves_no_core_and_ends_in_order_on_a_signal(number: signal.Signals) -> None:
    program = f"""
import os, resource, signal
from pkcs11_bridge.agent.ending import ENDING, end_in_order
from pkcs11_bridge.process_guard import forbid_core_dumps
forbid_core_dumps()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
assert os.stat("/proc/self/mem").st_uid == 0
end_in_order()
try:
    os.kill(os.getpid(), {int(number)})
finally:
    for another in ENDING:
        os.kill(os.getpid(), another)
    print("closed")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (128 + number, "closed\n"), done.stderr
