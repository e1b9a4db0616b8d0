"""What the agent's doctor says, with a card of our own."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pkcs11_bridge.agent import card_report, cli, doctor
from pkcs11_bridge.agent.card_report import CardReport
from pkcs11_bridge.errors import NoReader, ReaderServiceDown
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.readers import Reader
from tests.support.certificates import NOW, development_like_pki, key_usage

PKI = development_like_pki()
STEPS = ["card", "module", "certificate", "pin"]
READER = Reader("reader", bytes.fromhex("3b8001"))


def report(der: bytes = PKI.leaf.der, **changes: object) -> CardReport:
    described = card_report.describe(TokenCertificate(0, b"\1", "Login", der), NOW)
    good = CardReport("reader", "3b8001", Path("/usr/lib/card.so"), 3, False, (described,))
    return replace(good, **changes)  # type: ignore[arg-type]  # names and types are CardReport's


SIGNING = PKI.leaf_with(key_usage=key_usage("content_commitment"), extended_key_usage=()).der
OLD = PKI.leaf_with(not_after=NOW - timedelta(days=1)).der
EARLY = PKI.leaf_with(not_before=NOW + timedelta(days=1)).der


@pytest.mark.parametrize(
    ("seen", "ended"),
    [
        (ReaderServiceDown("down"), (1, "reader-service-down", 4, "down")),
        (NoReader("none"), (1, "no-reader", 4, "none")),
        (report(certificates=()), (3, "certificate-not-suitable", 7, "no authentication")),
        (report(SIGNING), (3, "signing-certificate-only", 7, "for signing documents only")),
        (report(OLD), (3, "certificate-expired", 7, "ended on")),
        (report(EARLY), (3, "certificate-not-yet-valid", 7, "begins on")),
        (report(tries_left=0), (4, "pin-locked", 4, "no PIN until")),
        (report(), (4, None, 0, "tries left: 3")),
        (
            report(tries_left=None, pin_pad=True),
            (4, None, 0, "tries left: unknown, typed on the reader"),
        ),
    ],
)
def test_the_first_thing_that_stands_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
    seen: Exception | CardReport,
    ended: tuple[int, str | None, int, str],
) -> None:
    steps, code, exit_code, last = ended

    def wait(*_: object) -> Reader:
        if isinstance(seen, Exception):
            raise seen
        return READER

    monkeypatch.setattr(doctor, "wait_for_card", wait)
    monkeypatch.setattr(doctor, "look_at_card", lambda *_: seen)
    command = ["doctor", "--module", "/usr/lib/card.so", "--language", "en"]
    done = CliRunner().invoke(cli.main, [*command, "--json"])
    assert done.exit_code == exit_code, done.output
    findings = json.loads(done.stdout)
    assert [finding["name"] for finding in findings] == STEPS[:steps]
    assert last in findings[-1]["seen"]
    error = findings[-1]["error"]
    assert (None if error is None else error["code"]) == code
    plain = CliRunner().invoke(cli.main, command).stdout.splitlines()
    assert (f"      {error['advice']}" == plain[-1]) if error else plain[-1].startswith("ok  ")


def test_profiles_that_cannot_be_relied_on(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.main, ["doctor", "--profiles", str(tmp_path / "none.toml")])
    assert done.exit_code == 5
    assert json.loads(done.stdout)["error"]["code"] == "card-profiles-invalid"
