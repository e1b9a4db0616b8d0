"""A person's card signs a statement: in which order, and what is refused before a PIN."""

from pathlib import Path
from typing import Never

import click
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs11_bridge.agent.card_signature import CardAccess
from pkcs11_bridge.encoding import raw_to_der
from pkcs11_bridge.errors import (
    CardRemoved,
    DeviceUnavailable,
    PinIncorrect,
    PinLocked,
    TokenBusy,
    TokenError,
)
from tests.support.card_desk import LEAF, PIN, Desk
from tests.support.certificates import development_like_pki, key_usage
from webapi.cli.person_key import CardOfPerson

SIGNING = development_like_pki().leaf_with(key_usage=key_usage("content_commitment"))
BEFORE_PIN = ["wait_for_card", "reset_card", "open_card", "pin_tries_left", "certificates"]
CLOSED = ["close", "reset_card"]


def desk_with(**changes: object) -> Desk:
    desk = Desk(certificates_der=(LEAF.der, SIGNING.der))
    for name, value in changes.items():
        setattr(desk, name, value)
    return desk


def sign(desk: Desk, pin: str = PIN, *, spends_final_try: bool = False) -> tuple[str, bytes]:
    def ask() -> str:
        desk.calls.append("ask")
        return pin

    def prepare(certificate: x509.Certificate) -> tuple[str, bytes]:
        assert certificate == SIGNING.certificate
        return "header", b"message"

    cards = CardAccess(readers=desk, open_card=desk.open_card)
    person = CardOfPerson(Path("/usr/lib/module.so"), None, ask, lambda: spends_final_try, cards)
    return person.sign(prepare)


def test_the_card_is_closed_before_it_is_used_and_after() -> None:
    desk = desk_with()
    protected, signature = sign(desk)
    assert protected == "header"
    key = SIGNING.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(raw_to_der(signature), b"message", ec.ECDSA(hashes.SHA256()))
    assert desk.calls == [*BEFORE_PIN, "ask", "login", "sign", *CLOSED]


@pytest.mark.parametrize("call", ["certificates", "login", "sign"])
@pytest.mark.parametrize("present", [True, False])
def test_a_failure_is_told_and_leaves_the_card_closed(call: str, present: bool) -> None:
    desk = desk_with(fails={call: DeviceUnavailable("broken")}, present=present)
    with pytest.raises(DeviceUnavailable if present else CardRemoved):
        sign(desk)
    assert [done for done in desk.calls if done != "card_has_gone"][-2:] == CLOSED


def test_a_card_that_cannot_be_closed_first_is_not_used() -> None:
    desk = desk_with(fails={"reset_card": TokenBusy("another program holds it")})
    with pytest.raises(TokenBusy):
        sign(desk)
    assert "open_card" not in desk.calls


@pytest.mark.parametrize(("counter", "told"), [(3, 2), (None, None)])
def test_a_wrong_pin_is_tried_once(counter: int | None, told: int | None) -> None:
    desk = desk_with(counter=counter)
    with pytest.raises(PinIncorrect) as wrong:
        sign(desk, "000000")
    assert wrong.value.tries_left == told
    assert desk.calls.count("login") == 1
    assert desk.calls[-2:] == CLOSED


@pytest.mark.parametrize(
    ("counter", "flags", "refusal"),
    [
        (0, None, PinLocked),
        (None, 0, PinLocked),
        (1, None, click.ClickException),
        (None, 1, click.ClickException),
    ],
)
def test_no_pin_is_asked_for_that_would_lock_the_card(
    counter: int | None, flags: int | None, refusal: type[TokenError | click.ClickException]
) -> None:
    desk = desk_with(counter=counter, flags=flags)
    with pytest.raises(refusal):
        sign(desk)
    assert "ask" not in desk.calls
    assert "login" not in desk.calls


def test_the_final_try_is_spent_after_a_yes() -> None:
    assert sign(desk_with(counter=1), spends_final_try=True)[0] == "header"


def test_on_a_pin_pad_nobody_is_asked_here() -> None:
    desk = desk_with(pin_pad=True)
    sign(desk)
    assert "ask" not in desk.calls


@pytest.mark.parametrize("certificates", [(), (LEAF.der,), (SIGNING.der, SIGNING.der)])
def test_a_card_has_one_signing_certificate(certificates: tuple[bytes, ...]) -> None:
    desk = desk_with(certificates_der=certificates)
    with pytest.raises(click.ClickException, match="signing certificates, not one"):
        sign(desk)
    assert desk.calls == [*BEFORE_PIN, *CLOSED]


def test_a_refused_statement_costs_no_pin() -> None:
    desk = desk_with()

    def refuse(_: x509.Certificate) -> Never:
        raise click.ClickException("takes no part")

    cards = CardAccess(readers=desk, open_card=desk.open_card)
    person = CardOfPerson(Path("/m.so"), None, lambda: PIN, lambda: True, cards)
    with pytest.raises(click.ClickException, match="takes no part"):
        person.sign(refuse)
    assert desk.calls == [*BEFORE_PIN, *CLOSED]
