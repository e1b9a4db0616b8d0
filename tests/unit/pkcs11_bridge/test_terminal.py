"""What a person at a terminal is told and asked, in both languages."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from pkcs11_bridge import errors
from pkcs11_bridge.agent import errors as agent_errors
from pkcs11_bridge.agent import words
from pkcs11_bridge.agent.certificate_choice import AuthenticationCertificate, choose
from pkcs11_bridge.agent.errors import CertificateAmbiguous
from pkcs11_bridge.agent.person import PinQuestion
from pkcs11_bridge.agent.terminal import Terminal
from pkcs11_bridge.agent.words import Language, advice, language_of
from pkcs11_bridge.objects import TokenCertificate
from tests.support.certificates import NOW, development_like_pki

ORIGIN = "https://login.example.mn"
DER = development_like_pki().leaf.der


def person(language: Language = "en", **options: object) -> Terminal:
    return Terminal(language, NOW, **options)  # type: ignore[arg-type]  # names and types are Terminal's


def question(**changes: object) -> PinQuestion:
    members: dict[str, object] = {
        "origin": ORIGIN,
        "confirmed": True,
        "holder": "Бат",
        "tries_left": None,
        "ends_at": NOW + timedelta(days=400),
        "on_pin_pad": False,
        **changes,
    }
    return PinQuestion(**members)  # type: ignore[arg-type]  # names and types are PinQuestion's


@pytest.mark.parametrize(
    ("changes", "told", "not_told"),
    [
        ({}, ("confirmed", "PIN tries left: unknown"), ("NOT", "ends soon", "card reader")),
        ({"confirmed": False}, ("(NOT CONFIRMED)",), ()),
        ({"tries_left": 2}, ("PIN tries left: 2",), ("unknown",)),
        ({"ends_at": NOW + timedelta(days=29)}, ("ends soon",), ()),
        ({"on_pin_pad": True}, ("Type the PIN on the card reader.",), ()),
    ],
)
def test_before_the_pin(
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    told: tuple[str, ...],
    not_told: tuple[str, ...],
) -> None:
    person().told(question(**changes))
    said = capsys.readouterr()
    assert said.out == ""
    assert all(text in said.err for text in (ORIGIN, "Бат", *told))
    assert not any(text in said.err for text in not_told)
    person("mn").told(question(**changes))
    assert "ПИН кодын үлдсэн оролдлого" in capsys.readouterr().err


def candidates() -> Sequence[AuthenticationCertificate]:
    stored = [TokenCertificate(0, bytes([n]), f"Login {n}", DER) for n in (1, 2)]
    return tuple(choose([one], NOW) for one in stored)


@pytest.mark.parametrize(("named", "id_"), [("Login 2", b"\2"), ("01", b"\1")])
def test_a_certificate_by_its_label_or_id(named: str, id_: bytes) -> None:
    assert person(certificate=named).choose(candidates()).stored.id == id_


@pytest.mark.parametrize("named", ["Login 3", None])
def test_nobody_chooses(named: str | None) -> None:
    with pytest.raises(CertificateAmbiguous) as caught:
        person(certificate=named).choose(candidates())
    assert caught.value.count == 2


def test_a_person_chooses_by_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("click.prompt", lambda *_, **__: 2)
    assert person(interactive=True).choose(candidates()).stored.id == b"\2"
    listed = capsys.readouterr().err.splitlines()
    assert listed[1].startswith("2. Login 2: Bat Bold p256; issued by: ")
    assert listed[1].endswith(f"until: {candidates()[1].not_after:%Y-%m-%d}")


@pytest.mark.parametrize(
    ("said_before", "interactive", "answer", "spent"),
    [
        (False, False, True, False),
        (True, False, False, True),
        (False, True, True, True),
        (False, True, False, False),
    ],
)
def test_the_final_try(
    monkeypatch: pytest.MonkeyPatch, said_before: bool, interactive: bool, answer: bool, spent: bool
) -> None:
    monkeypatch.setattr("click.confirm", lambda *_, **__: answer)
    asked = person(may_spend_final_try=said_before, interactive=interactive)
    assert asked.spends_final_try() is spent


def test_a_pin_file_is_read_by_its_rules(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_text("648219")
    path.chmod(0o644)
    with pytest.raises(errors.UnsafePinSource):
        person(pin_file=path).pin()
    path.chmod(0o600)
    assert person(pin_file=path).pin().reveal() == "648219"


def refusals(root: type[Exception]) -> list[type[Exception]]:
    return [root] + [found for kind in root.__subclasses__() for found in refusals(kind)]


EVERY_REFUSAL = [
    kind
    for root in (errors.TokenError, agent_errors.AgentError)
    for kind in refusals(root)
    if kind.__module__.startswith("pkcs11_bridge.")
]


@pytest.mark.parametrize("kind", EVERY_REFUSAL, ids=lambda kind: str(kind.__name__))
def test_every_refusal_has_words_in_both_languages(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    mongolian, english = advice(error, "mn"), advice(error, "en")
    assert any("а" <= letter <= "я" for letter in mongolian)
    assert not any("а" <= letter <= "я" for letter in english)


@pytest.mark.parametrize("kind", refusals(errors.NeedsPerson)[1:], ids=lambda k: str(k.__name__))
def test_what_a_person_can_mend_has_words_of_its_own(kind: type[Exception]) -> None:
    if kind.__name__ == "PinLatched":  # of service tokens alone; a card has no latch
        return
    general = words.advice(errors.TokenError("x"), "en")
    assert advice(kind.__new__(kind), "en") != general


@pytest.mark.parametrize(
    ("tag", "language"),
    [("en", "en"), ("en-GB", "en"), ("en_US", "en"), ("mn-Mong", "mn"), ("xx", "mn"), (None, "mn")],
)
def test_languages(tag: str | None, language: str) -> None:
    assert language_of(tag) == language
