"""The agent's order of steps, with readers and a card of our own that write down every call."""

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.agent.authenticate import (
    REAL_CARDS,
    CardAccess,
    PinQuestion,
    UnconfirmedOriginAccepted,
    authenticate,
)
from pkcs11_bridge.agent.errors import (
    AgentError,
    CardSignatureInvalid,
    CertificateNotSuitable,
    FinalTryRefused,
    OriginInvalid,
    OriginNotConfirmed,
    ProofForeign,
    ProofMissing,
    ProofStale,
    RequestInvalid,
)
from pkcs11_bridge.agent.origins import OriginPins, PinnedOrigins
from pkcs11_bridge.agent.token import AuthenticationToken, signed_message
from pkcs11_bridge.encoding import HashName, der_to_raw, raw_to_der
from pkcs11_bridge.errors import (
    CardRemoved,
    DeviceUnavailable,
    NoCard,
    PinIncorrect,
    PinLocked,
    TokenError,
)
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.pin import Pin, PromptPinSource
from pkcs11_bridge.readers import Reader
from tests.support.certificates import development_like_pki

AT = datetime(2026, 11, 15, 12, 0, tzinfo=UTC)
ORIGIN = "https://login.example.mn"
SERVICE_KEY = ec.generate_private_key(ec.SECP256R1())
ORIGINS = PinnedOrigins({ORIGIN: OriginPins(SERVICE_KEY.public_key(), None)})
LEAF = development_like_pki().leaf
PIN = "648219"
PLAIN_NONCE = base64.b64encode(bytes(32)).decode()


def challenge(origin: str = ORIGIN, life: timedelta = timedelta(minutes=5)) -> str:
    spki = SERVICE_KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    kid, expiry = challenge_proof.key_id(spki), int((AT + life).timestamp())
    text = challenge_proof.signed_text(origin, bytes(24), kid, expiry)
    r, s = decode_dss_signature(SERVICE_KEY.sign(text, ec.ECDSA(hashes.SHA256())))
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return challenge_proof.encode(bytes(24), kid, expiry, raw)


@dataclass
class Desk:
    """Readers and a card; ``calls`` is everything that was done to them."""

    calls: list[str] = field(default_factory=list)
    counter: int | None = 3
    flags: int | None = None
    present: bool = True
    fails: dict[str, TokenError] = field(default_factory=dict)
    certificate: bytes = LEAF.der
    corrupt: bool = False

    def _do(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fails:
            raise self.fails[call]

    def wait_for_card(self, seconds: float, reader_name: str | None = None) -> Reader:
        self._do("wait_for_card")
        return Reader(reader_name or "reader", b"\x3b\x80")

    def card_is_present(self, reader_name: str) -> bool:
        self._do("card_is_present")
        return self.present

    def pin_tries_left(self, reader_name: str) -> int | None:
        self._do("pin_tries_left")
        return self.counter

    def reset_card(self, reader_name: str) -> None:
        self._do("reset_card")

    @contextmanager
    def open_card(self, module: Path, reader_name: str) -> Iterator["Desk"]:
        self._do("open_card")
        try:
            yield self
        finally:
            self.calls.append("close")

    def certificates(self) -> tuple[TokenCertificate, ...]:
        self._do("certificates")
        return (TokenCertificate(0, b"\1", "authentication", self.certificate),)

    def tries_left(self, slot_id: int) -> int | None:
        self._do("tries_left")
        return self.flags

    def login(self, slot_id: int, pin: Pin) -> None:
        self._do("login")
        if pin.reveal() != PIN:
            self.counter = None if self.counter is None else self.counter - 1
            raise PinIncorrect(self.flags)

    def sign_digest(
        self, certificate: TokenCertificate, algorithm: KeyAlgorithm, digest: bytes, hash_: HashName
    ) -> bytes:
        self._do("sign")
        assert isinstance(LEAF.key, ec.EllipticCurvePrivateKey)
        der = LEAF.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        return bytes(64) if self.corrupt else der_to_raw(der, 32)


def run(
    desk: Desk,
    nonce: str = "",
    *,
    origin: str = ORIGIN,
    pin: Callable[[], str] = lambda: PIN,
    shown: list[PinQuestion] | None = None,
    accepted: UnconfirmedOriginAccepted | None = None,
    may_spend_final_try: bool = False,
) -> AuthenticationToken:
    return authenticate(
        origin,
        nonce or challenge(),
        ORIGINS,
        Path("/usr/lib/module.so"),
        PromptPinSource(pin),
        at=AT,
        show=(list[PinQuestion]() if shown is None else shown).append,
        accepted=accepted,
        may_spend_final_try=may_spend_final_try,
        cards=CardAccess(readers=desk, open_card=desk.open_card),
    )


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
    desk = Desk(certificate=b"\x30\x00")
    with pytest.raises(CertificateNotSuitable):
        run(desk, pin=never)
    assert desk.calls[-2:] == ["close", "reset_card"]


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
    desk = Desk(fails={"reset_card": CardRemoved("out"), "login": PinLocked("locked")})
    with pytest.raises(PinLocked):
        run(desk)


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
        *("wait_for_card", "pin_tries_left", "open_card", "certificates", "login", "sign"),
        *("close", "reset_card"),
    ]
    assert shown == [PinQuestion(ORIGIN, True, "Bat Bold p256", 3)]
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
