"""`tamga card`: what it prints and how it ends, with readers of our own."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner, Result

from pkcs11_bridge import errors
from pkcs11_bridge.agent import card_report
from pkcs11_bridge.agent.card_report import CardReport, Purpose, Standing
from pkcs11_bridge.agent.card_signature import CardSignature
from pkcs11_bridge.agent.certificate_choice import choose
from pkcs11_bridge.agent.errors import FinalTryRefused, SigningCertificateOnly
from pkcs11_bridge.card_monitor import CardEvent, EventKind
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.readers import Reader
from tests.support.certificates import NOW, development_like_pki, key_usage
from webapi.cli import card as command

ATR = bytes.fromhex("3b8001")
LEAF = TokenCertificate(0, b"\1", "Login", development_like_pki().leaf.der)
CARD = Reader("reader", ATR)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # They would outlive the test.
    monkeypatch.setattr(command, "forbid_core_dumps", lambda: None)
    monkeypatch.setattr(command, "end_in_order", lambda: None)
    monkeypatch.setattr(command, "wait_for_card", lambda *_: CARD)


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """A table with a module that is there, and one for another card that is not."""
    (tmp_path / "card.so").touch()
    path = tmp_path / "cards.toml"
    path.write_text(
        f'[[profile]]\nname = "gone"\natr = "3B8002"\nmodules = ["{tmp_path}/none.so"]\n'
        f'[[profile]]\nname = "first"\natr = "3B8001"\nmodules = ["{tmp_path}/none.so"]\n'
        f'if_missing = "next"\n[[profile]]\nname = "mine"\nmodules = ["{tmp_path}/card.so"]\n'
    )
    path.chmod(0o644)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command.card, list(arguments))


@pytest.mark.parametrize(
    ("reader", "told"),
    [
        (None, "No reader is connected."),
        (Reader("reader", None), "reader: empty"),
        (Reader("reader", None, mute=True), "does not answer; put it in the other way round"),
        (CARD, "ATR 3b8001; profile mine, "),
        (CARD, "(matches as well, module not installed: first)"),
        (Reader("reader", bytes.fromhex("3b8002")), "the card's profile gone wants a PKCS#11"),
    ],
)
def test_readers_are_listed(
    monkeypatch: pytest.MonkeyPatch, profiles: Path, reader: Reader | None, told: str
) -> None:
    found = () if reader is None else (reader,)
    monkeypatch.setattr(command, "list_readers", lambda: found)
    listed = run("list", "--profiles", str(profiles))
    assert listed.exit_code == 0, listed.output
    assert told in listed.stdout
    members = json.loads(run("list", "--json", "--profiles", str(profiles)).stdout)
    assert [member["reader"] for member in members] == [one.name for one in found]


class Events:
    """A monitor that tells what it is given, and then nothing."""

    told = (
        CardEvent(EventKind.SERVICE_UP),
        CardEvent(EventKind.CARD_INSERTED, "reader", ATR),
        None,
    )

    def __init__(self) -> None:
        self.left = list(self.told)

    def next_event(self, seconds: float) -> CardEvent | None:
        return self.left.pop(0) if self.left else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


def test_what_comes_and_goes_is_told_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "CardMonitor", Events)
    lines = run("list", "--watch", "--seconds", "0.05").stdout.splitlines()
    assert lines == ["the reader service answers", "reader: card put in, ATR 3b8001"]
    documents = run("list", "--watch", "--seconds", "0.05", "--json").stdout.splitlines()
    assert [json.loads(line)["event"] for line in documents] == ["service-up", "card-inserted"]


def report(*stored: TokenCertificate, tries: int | None = 3, pad: bool = False) -> CardReport:
    certificates = tuple(card_report.describe(one, NOW) for one in stored)
    return CardReport("reader", ATR.hex(), Path("/usr/lib/card.so"), tries, pad, certificates)


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (report(), "No certificate."),
        (report(tries=None), "PIN tries left: unknown"),
        (report(tries=0), "none: the PIN is locked, its issuer can unlock it"),
        (report(tries=2), "PIN tries left: 2"),
        (report(pad=True), "The PIN is typed on the reader."),
        (report(LEAF), "Login (id 01): login"),
        (report(LEAF), "EC secp256r1"),
        (report(TokenCertificate(0, b"\2", "Bad\x1b", b"\x30\x00")), "Bad? (id 02): unreadable"),
    ],
)
def test_a_card_is_shown(monkeypatch: pytest.MonkeyPatch, shown: CardReport, told: str) -> None:
    monkeypatch.setattr(command, "look_at_card", lambda *_: shown)
    done = run("show", "--module", "/dev/null/none")
    assert done.exit_code == 2  # no such module
    done = run("show", "--module", __file__)
    assert done.exit_code == 0, done.output
    assert told in done.stdout
    members = json.loads(run("show", "--module", __file__, "--json").stdout)
    assert members["tries_left"] == shown.tries_left
    assert len(members["certificates"]) == len(shown.certificates)


def test_purposes_and_standing() -> None:
    pki = development_like_pki()

    def described(**changes: object) -> card_report.CertificateReport:
        der = pki.leaf_with(**changes).der
        return card_report.describe(TokenCertificate(0, b"\1", "x", der), NOW)

    assert described(serial=5).purposes == (Purpose.LOGIN,)
    signing = described(key_usage=key_usage("content_commitment"), extended_key_usage=())
    assert signing.purposes == (Purpose.SIGNING,)
    both = described(
        key_usage=key_usage("digital_signature", "content_commitment"), extended_key_usage=()
    )
    assert both.purposes == (Purpose.LOGIN, Purpose.SIGNING)
    assert described(key_usage=key_usage("key_encipherment")).purposes == (Purpose.OTHER,)
    assert described(serial=6).standing is Standing.IN_TIME
    assert described(not_after=NOW - timedelta(days=1)).standing is Standing.EXPIRED
    assert described(not_before=NOW + timedelta(days=1)).standing is Standing.NOT_YET_VALID


def test_a_signature_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    signed = CardSignature(choose([LEAF], NOW), bytes(64), "reader")
    monkeypatch.setattr(command, "try_card", lambda *_, **__: signed)
    done = run("test", "--module", __file__)
    assert done.exit_code == 0, done.output
    assert "reader: a signature by ES256 with Login of Bat Bold p256, verified." in done.stdout
    members = json.loads(run("test", "--module", __file__, "--json").stdout)
    assert (members["verified"], members["label"]) == (True, "Login")


def refusing(error: Exception) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (errors.PinIncorrect(2), "pin-incorrect", 4),
        (errors.CardRemoved("out"), "card-removed", 4),
        (FinalTryRefused("one left"), "final-try-refused", 4),
        (errors.ModuleUnusable("none"), "module-unusable", 5),
        (errors.TokenBusy("held"), "token-busy", 6),
        (SigningCertificateOnly("only"), "signing-certificate-only", 7),
    ],
)
def test_refusals_have_a_code_an_exit_status_and_advice(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, exit_code: int
) -> None:
    monkeypatch.setattr(command, "try_card", refusing(error))
    done = run("test", "--module", __file__, "--json")
    assert done.exit_code == exit_code
    members = json.loads(done.stdout)["error"]
    assert members["code"] == code
    assert members["advice"] in done.stderr
    plain = run("test", "--module", __file__, "--language", "mn")
    assert (plain.exit_code, plain.stdout) == (exit_code, "")
    assert str(error) in plain.stderr


@pytest.mark.parametrize("arguments", [("list",), ("show", "--module", __file__)])
def test_a_service_that_is_down(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    down = refusing(errors.ReaderServiceDown("down"))
    monkeypatch.setattr(command, "list_readers", down)
    monkeypatch.setattr(command, "wait_for_card", down)
    assert run(*arguments).exit_code == 4
