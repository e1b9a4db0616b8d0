"""A card and its owner of our own, that write down every call made by the agent."""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.agent.authenticate import UnconfirmedOriginAccepted, authenticate
from pkcs11_bridge.agent.card_signature import CardAccess
from pkcs11_bridge.agent.certificate_choice import AuthenticationCertificate
from pkcs11_bridge.agent.errors import (
    CertificateAmbiguous,
)
from pkcs11_bridge.agent.origins import OriginPins, PinnedOrigins
from pkcs11_bridge.agent.person import PinQuestion
from pkcs11_bridge.agent.token import AuthenticationToken
from pkcs11_bridge.encoding import HashName, der_to_raw
from pkcs11_bridge.errors import (
    PinIncorrect,
    TokenError,
)
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.pin import Pin, PinpadEntry
from pkcs11_bridge.readers import Missing, Reader
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
    certificates_der: tuple[bytes, ...] = (LEAF.der,)
    corrupt: bool = False
    pin_pad: bool = False

    def _do(self, call: str) -> None:
        self.calls.append(call)
        if call in self.fails:
            raise self.fails[call]

    def wait_for_card(
        self, seconds: float, reader_name: str | None, waiting: Callable[[Missing], None]
    ) -> Reader:
        self._do("wait_for_card")
        return Reader(reader_name or "reader", b"\x3b\x80")

    def card_has_gone(self, card: Reader) -> bool:
        self._do("card_has_gone")
        return not self.present

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
        return tuple(
            TokenCertificate(0, bytes([n]), f"certificate {n}", der)
            for n, der in enumerate(self.certificates_der, 1)
        )

    def tries_left(self, slot_id: int) -> int | None:
        self._do("tries_left")
        return self.flags

    def has_pin_pad(self, slot_id: int) -> bool:
        return self.pin_pad

    def login(self, slot_id: int, pin: Pin) -> None:
        self._do("login")
        if self.pin_pad:
            assert isinstance(pin, PinpadEntry)
        elif pin.reveal() != PIN:
            self.counter = None if self.counter is None else self.counter - 1
            raise PinIncorrect(self.flags)

    def sign_digest(
        self, certificate: TokenCertificate, algorithm: KeyAlgorithm, digest: bytes, hash_: HashName
    ) -> bytes:
        self._do("sign")
        assert isinstance(LEAF.key, ec.EllipticCurvePrivateKey)
        der = LEAF.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        return bytes(64) if self.corrupt else der_to_raw(der, 32)


@dataclass
class Somebody:
    """A person who answers as the test wants."""

    ask: Callable[[], str]
    shown: list[PinQuestion]
    may_spend_final_try: bool
    choice: int | None

    def told_waiting(self, missing: Missing) -> None:
        raise AssertionError("nothing is missing")

    def choose(self, candidates: Sequence[AuthenticationCertificate]) -> AuthenticationCertificate:
        if self.choice is None:
            raise CertificateAmbiguous(len(candidates))
        return candidates[self.choice]

    def told(self, question: PinQuestion) -> None:
        self.shown.append(question)

    def spends_final_try(self) -> bool:
        return self.may_spend_final_try

    def pin(self) -> Pin:
        return Pin(self.ask())


def run(
    desk: Desk,
    nonce: str = "",
    *,
    origin: str = ORIGIN,
    pin: Callable[[], str] = lambda: PIN,
    shown: list[PinQuestion] | None = None,
    accepted: UnconfirmedOriginAccepted | None = None,
    may_spend_final_try: bool = False,
    choice: int | None = None,
) -> AuthenticationToken:
    return authenticate(
        origin,
        nonce or challenge(),
        ORIGINS,
        lambda _: Path("/usr/lib/module.so"),
        Somebody(pin, [] if shown is None else shown, may_spend_final_try, choice),
        at=AT,
        accepted=accepted,
        cards=CardAccess(readers=desk, open_card=desk.open_card),
    )
