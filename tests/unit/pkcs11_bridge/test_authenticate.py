"""The agent's order of steps, with readers and a card of our own that write down every call."""

import base64
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs11_bridge.agent.authenticate import UnconfirmedOriginAccepted
from pkcs11_bridge.agent.card_signature import REAL_CARDS
from pkcs11_bridge.agent.errors import (
    AgentError,
    CardSignatureInvalid,
    CertificateAmbiguous,
    CertificateNotSuitable,
    FinalTryRefused,
    OriginInvalid,
    OriginNotConfirmed,
    ProofForeign,
    ProofMissing,
    ProofStale,
    RequestInvalid,
)
from pkcs11_bridge.agent.person import PinQuestion
from pkcs11_bridge.agent.token import signed_message
from pkcs11_bridge.encoding import raw_to_der
from pkcs11_bridge.errors import (
    CardRemoved,
    DeviceUnavailable,
    NoCard,
    PinIncorrect,
    PinLocked,
    TokenBusy,
    TokenError,
)
from pkcs11_bridge.objects import TokenCertificate
from tests.support.card_desk import (
    LEAF,
    ORIGIN,
    PIN,
    PLAIN_NONCE,
    Desk,
    challenge,
    run,
)
from tests.support.certificates import development_like_pki, issue

ACCEPTED = UnconfirmedOriginAccepted(ORIGIN)


@pytest.mark.parametrize("accepted", [None, ACCEPTED])
@pytest.mark.parametrize(
    ("nonce", "error"),
    [
        (PLAIN_NONCE, ProofMissing),
        (challenge("https://evil.example"), ProofForeign),
        (challenge(life=timedelta(0)), ProofStale),
        ("A" * 43, RequestInvalid),
        ("A" * 129, RequestInvalid),
    ],
)
def test_a_pinned_origin_without_a_valid_proof_touches_nothing(
    nonce: str, error: type[AgentError], accepted: UnconfirmedOriginAccepted | None
) -> None:
    desk = Desk()
    with pytest.raises(error):
        run(desk, nonce, accepted=accepted)
    assert desk.calls == []


@pytest.mark.parametrize(
    ("origin", "accepted", "error"),
    [
        ("https://other.mn", None, OriginNotConfirmed),
        ("https://other.mn", ACCEPTED, OriginNotConfirmed),
        ("https://other.mn/", UnconfirmedOriginAccepted("https://other.mn/"), OriginInvalid),
    ],
)
def test_an_unknown_origin_touches_nothing_unless_accepted(
    origin: str, accepted: UnconfirmedOriginAccepted | None, error: type[AgentError]
) -> None:
    desk = Desk()
    with pytest.raises(error):
        run(desk, origin=origin, accepted=accepted)
    assert desk.calls == []


def never() -> str:
    raise AssertionError("the PIN must not be asked for")


def test_no_card_no_module() -> None:
    desk = Desk(fails={"wait_for_card": NoCard("none")})
    with pytest.raises(NoCard):
        run(desk, pin=never)
    assert desk.calls == ["wait_for_card"]


@pytest.mark.parametrize(
    ("counter", "flags", "error"),
    [
        (0, None, PinLocked),
        (1, 2, FinalTryRefused),
        (None, 0, PinLocked),
        (None, 1, FinalTryRefused),
    ],
)
def test_the_last_try_is_not_spent_unasked(
    counter: int | None, flags: int | None, error: type[Exception]
) -> None:
    desk = Desk(counter=counter, flags=flags)
    with pytest.raises(error):
        run(desk, pin=never)
    assert "login" not in desk.calls
    assert desk.calls[-2:] == ["close", "reset_card"]


def test_a_locked_card_stays_locked_also_when_the_final_try_may_be_spent() -> None:
    desk = Desk(counter=0)
    with pytest.raises(PinLocked):
        run(desk, pin=never, may_spend_final_try=True)


def test_no_certificate_no_pin() -> None:
    desk = Desk(certificates_der=(b"\x30\x00",))
    with pytest.raises(CertificateNotSuitable):
        run(desk, pin=never)
    assert desk.calls[-3:] == ["close", "reset_card", "card_has_gone"]


@pytest.mark.parametrize(
    ("counter", "flags", "told"), [(3, None, 2), (2, 2, 1), (None, 2, 2), (None, None, None)]
)
def test_a_wrong_pin_tells_the_card_s_count_or_the_module_s_or_unknown(
    counter: int | None, flags: int | None, told: int | None
) -> None:
    desk = Desk(counter=counter, flags=flags)
    with pytest.raises(PinIncorrect) as caught:
        run(desk, pin=lambda: "000000")
    assert caught.value.tries_left == told
    assert desk.calls.count("login") == 1
    assert desk.calls[-2:] == ["close", "reset_card"]


def test_a_card_pulled_after_a_wrong_pin_hides_nothing() -> None:
    desk = Desk(flags=2)

    def wrong() -> str:
        desk.fails["pin_tries_left"] = CardRemoved("out")
        return "000000"

    with pytest.raises(PinIncorrect) as caught:
        run(desk, pin=wrong)
    assert caught.value.tries_left == 2


@pytest.mark.parametrize(("present", "error"), [(False, CardRemoved), (True, DeviceUnavailable)])
def test_a_device_error_is_called_by_its_cause(present: bool, error: type[TokenError]) -> None:
    desk = Desk(present=present, fails={"sign": DeviceUnavailable("general error")})
    with pytest.raises(error):
        run(desk)
    assert "close" in desk.calls
    assert "reset_card" in desk.calls


def test_a_reset_that_fails_hides_nothing() -> None:
    desk = Desk(fails={"login": PinLocked("locked")})

    def locked() -> str:
        desk.fails["reset_card"] = CardRemoved("out")
        return PIN

    with pytest.raises(PinLocked):
        run(desk, pin=locked)


def test_a_card_that_another_program_holds_is_not_used() -> None:
    desk = Desk(fails={"reset_card": TokenBusy("held")})
    with pytest.raises(TokenBusy):
        run(desk, pin=never)
    assert "open_card" not in desk.calls


def test_the_last_wrong_try_is_a_locked_card() -> None:
    with pytest.raises(PinLocked, match="the last try"):
        run(Desk(counter=1), pin=lambda: "000000", may_spend_final_try=True)


def test_a_pin_pad_is_told_and_nobody_asks_for_the_pin() -> None:
    desk, shown = Desk(pin_pad=True), list[PinQuestion]()
    assert run(desk, pin=never, shown=shown)["algorithm"] == "ES256"
    assert [question.on_pin_pad for question in shown] == [True]


def test_the_person_chooses_among_several_certificates() -> None:
    other = issue(replace(development_like_pki().leaf_spec, key=LEAF.key, serial=77)).der
    desk = Desk(certificates_der=(LEAF.der, other))
    with pytest.raises(CertificateAmbiguous):
        run(desk, pin=never)
    token = run(desk, choice=1)
    assert base64.b64decode(token["unverifiedCertificate"]) == other


def test_an_interrupted_program_closes_the_card() -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    desk = Desk()
    with pytest.raises(KeyboardInterrupt):
        run(desk, pin=interrupted)
    assert desk.calls[-2:] == ["close", "reset_card"]


def test_a_corrupt_signature_does_not_leave() -> None:
    desk = Desk(corrupt=True)
    with pytest.raises(CardSignatureInvalid):
        run(desk)
    assert desk.calls[-2:] == ["close", "reset_card"]


def test_the_final_try_may_be_spent_when_the_person_says_so() -> None:
    assert run(Desk(counter=1), may_spend_final_try=True)["format"] == "web-eid:1.0"


def test_the_whole_way() -> None:
    desk, shown, nonce = Desk(), list[PinQuestion](), challenge()
    token = run(desk, nonce, shown=shown)
    assert desk.calls == [
        *("wait_for_card", "reset_card", "open_card", "pin_tries_left", "certificates", "login"),
        *("sign", "close", "reset_card"),
    ]
    ends_at = LEAF.certificate.not_valid_after_utc
    assert shown == [PinQuestion(ORIGIN, True, "Bat Bold p256", 3, ends_at, on_pin_pad=False)]
    assert base64.b64decode(token["unverifiedCertificate"]) == LEAF.der
    public_key = LEAF.certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    signature = raw_to_der(base64.b64decode(token["signature"]))
    public_key.verify(signature, signed_message(ORIGIN, nonce), ec.ECDSA(hashes.SHA256()))


def test_an_accepted_unknown_origin_is_shown_as_not_confirmed() -> None:
    shown = list[PinQuestion]()
    other = "https://other.mn"
    accepted = UnconfirmedOriginAccepted(other)
    token = run(Desk(), PLAIN_NONCE, origin=other, accepted=accepted, shown=shown)
    assert token["algorithm"] == "ES256"
    assert [question.confirmed for question in shown] == [False]


def test_opensc_is_told_to_reset_unless_the_user_configured_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENSC_CONF", raising=False)
    seen: list[str] = []

    class Watching(Desk):
        def certificates(self) -> tuple[TokenCertificate, ...]:
            seen.append(Path(os.environ["OPENSC_CONF"]).read_text())
            return super().certificates()

    run(Watching())
    assert "disconnect_action = reset" in seen[0]
    assert "OPENSC_CONF" not in os.environ
    monkeypatch.setenv("OPENSC_CONF", "/dev/null")
    run(Watching())
    assert seen[1] == ""
    assert os.environ["OPENSC_CONF"] == "/dev/null"


def test_the_real_way_to_the_card_is_the_default() -> None:
    assert REAL_CARDS.readers.__name__ == "pkcs11_bridge.readers"  # type: ignore[attr-defined]  # a module
