"""From a page's challenge to a Web eID token, in an order that protects the person.

1. The origin has an origin's form; what is pinned for it decides what it must prove.
2. A pinned origin's nonce proves itself, fresh and for this very origin, or nothing more happens:
   no reader, no module, no PIN prompt. An unknown origin is refused unless the caller says, for
   this origin, that the person accepts it as not confirmed.
3. One reader with a card; the card's own number of PIN tries. None left: no PIN is asked for. One
   left: only if the caller said that it may be spent.
4. The card's authentication certificate.
5. The PIN: asked once, tried once.
6. The card signs; its signature is verified before it leaves.
7. Whatever happened after step 3: C_Logout, C_Finalize, and the card is reset.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pkcs11_bridge import card as real_card
from pkcs11_bridge import readers as real_readers
from pkcs11_bridge.agent import certificate_choice, challenge_proof
from pkcs11_bridge.agent.errors import FinalTryRefused, OriginNotConfirmed, RequestInvalid
from pkcs11_bridge.agent.opensc_conf import reset_on_disconnect
from pkcs11_bridge.agent.origins import PinnedOrigins, checked_origin
from pkcs11_bridge.agent.token import (
    AuthenticationToken,
    build_token,
    message_hash,
    signed_message,
)
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.errors import CardRemoved, DeviceUnavailable, PinIncorrect, PinLocked, TokenError
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.pin import Pin, PinSource
from pkcs11_bridge.readers import Reader

MIN_NONCE_LENGTH = 44
MAX_NONCE_LENGTH = 128


class CardReaders(Protocol):
    """What is asked of the PC/SC side; pkcs11_bridge.readers in real life."""

    def wait_for_card(self, seconds: float, reader_name: str | None = None) -> Reader:
        """The one reader with a card."""
        ...

    def card_is_present(self, reader_name: str) -> bool:
        """Whether the card is still there."""
        ...

    def pin_tries_left(self, reader_name: str) -> int | None:
        """The card's own count, None for unknown."""
        ...

    def reset_card(self, reader_name: str) -> None:
        """Let no other program find the PIN verified."""
        ...


class Card(Protocol):
    """What is asked of the PKCS#11 side; pkcs11_bridge.card.CardSession in real life."""

    def certificates(self) -> tuple[TokenCertificate, ...]:
        """All certificates, without a PIN."""
        ...

    def tries_left(self, slot_id: int) -> int | None:
        """The module's count, None for unknown."""
        ...

    def login(self, slot_id: int, pin: Pin) -> None:
        """C_Login, once."""
        ...

    def sign_digest(
        self, certificate: TokenCertificate, algorithm: KeyAlgorithm, digest: bytes, hash_: HashName
    ) -> bytes:
        """Sign with the certificate's key."""
        ...


@dataclass(frozen=True, slots=True)
class CardAccess:
    """The way to the card."""

    readers: CardReaders
    open_card: Callable[[Path, str], AbstractContextManager[Card]]


# A module is a fine implementation of a Protocol of functions.
REAL_CARDS = CardAccess(readers=real_readers, open_card=real_card.open_card)


@dataclass(frozen=True, slots=True)
class UnconfirmedOriginAccepted:
    """The person was shown that nobody vouches for this origin, and went on."""

    origin: str


@dataclass(frozen=True, slots=True)
class PinQuestion:
    """What a person must see before the PIN is asked for."""

    origin: str
    confirmed: bool
    """A pinned key proved that the challenge comes from this origin's service."""
    holder: str
    tries_left: int | None


def authenticate(
    origin: str,
    nonce: str,
    origins: PinnedOrigins,
    module: Path,
    pin_source: PinSource,
    *,
    at: datetime,
    show: Callable[[PinQuestion], None] = lambda _: None,
    accepted: UnconfirmedOriginAccepted | None = None,
    may_spend_final_try: bool = False,
    wait_seconds: float = 0.0,
    reader_name: str | None = None,
    cards: CardAccess = REAL_CARDS,
) -> AuthenticationToken:
    """Sign a login challenge with the person's card, in the order above.

    Args:
        origin: the page's origin, told by the browser.
        nonce: the challenge, as the page sent it.
        origins: the pinned origins.
        module: the card's PKCS#11 module.
        pin_source: read once, after everything else is known to be right.
        at: now, timezone-aware.
        show: called just before the PIN is read.
        accepted: the person's acceptance of one unknown origin; never helps a pinned one.
        may_spend_final_try: the person knows that a wrong PIN now locks the card.
        wait_seconds: how long to wait for reader and card.
        reader_name: the reader to use, where several hold cards.
        cards: the way to the card.

    Raises:
        OriginInvalid, RequestInvalid, OriginNotConfirmed, ProofMissing, ProofForeign, ProofStale,
            ProofTooLongLived: before any reader or module is touched.
        ReaderServiceDown, NoReader, NoCard, CardMute, CardRemoved, TokenAmbiguous.
        CertificateNotSuitable, CertificateAmbiguous.
        FinalTryRefused, PinLocked, PinIncorrect (with the card's own count), PinLengthWrong.
        KeyNotFound, ExtractableKey, CardSignatureInvalid; TokenError in general.
    """
    confirmed = _require_proof(origin, nonce, origins, accepted, at)
    reader = cards.readers.wait_for_card(wait_seconds, reader_name)
    tries = cards.readers.pin_tries_left(reader.name)
    with _removal_told(cards.readers, reader.name), _card(cards, module, reader.name) as card:
        chosen = certificate_choice.choose(card.certificates(), at)
        slot_id = chosen.stored.slot_id
        tries = card.tries_left(slot_id) if tries is None else tries
        _require_tries(tries, may_spend_final_try=may_spend_final_try)
        show(PinQuestion(origin, confirmed, chosen.holder, tries))
        try:
            card.login(slot_id, pin_source.read())
        except PinIncorrect as e:
            told = None
            # A card that is gone by now must not hide that the PIN was wrong.
            with suppress(TokenError):
                told = cards.readers.pin_tries_left(reader.name)
            raise PinIncorrect(e.tries_left if told is None else told) from e
        digest = message_hash(chosen.algorithm, origin, nonce)
        signature = card.sign_digest(chosen.stored, chosen.key_algorithm, digest, "sha256")
    chosen.require_signature(signature, signed_message(origin, nonce))
    return build_token(chosen.stored.unverified_der, chosen.algorithm, signature)


def _require_proof(
    origin: str,
    nonce: str,
    origins: PinnedOrigins,
    accepted: UnconfirmedOriginAccepted | None,
    at: datetime,
) -> bool:
    """Whether the origin proved itself (True) or is one that the person accepted (False)."""
    checked_origin(origin)
    if not MIN_NONCE_LENGTH <= len(nonce) <= MAX_NONCE_LENGTH:
        raise RequestInvalid("a challenge nonce has 44 to 128 characters")
    try:
        pins = origins.of(origin)
    except OriginNotConfirmed:
        if accepted is None or accepted.origin != origin:
            raise
        return False
    unverified_proof = challenge_proof.UnverifiedProof.parse(nonce)
    challenge_proof.verify(unverified_proof, origin, pins.keys, at)
    return True


def _require_tries(tries: int | None, *, may_spend_final_try: bool) -> None:
    if tries == 0:
        raise PinLocked("the card accepts no PIN until its issuer unblocks it")
    if tries == 1 and not may_spend_final_try:
        raise FinalTryRefused("one PIN try is left; a wrong PIN would lock the card")


@contextmanager
def _card(cards: CardAccess, module: Path, reader_name: str) -> Iterator[Card]:
    try:
        with reset_on_disconnect(), cards.open_card(module, reader_name) as card:
            yield card
    finally:
        # Also where the module did it: a user's own OpenSC configuration may say otherwise. A
        # card that is out or unreachable is as closed as can be.
        with suppress(TokenError):
            cards.readers.reset_card(reader_name)


@contextmanager
def _removal_told(readers: CardReaders, reader_name: str) -> Iterator[None]:
    """OpenSC says "general error" for seconds after a card was pulled: ask the reader."""
    try:
        yield
    except DeviceUnavailable as e:
        if readers.card_is_present(reader_name):
            raise
        raise CardRemoved("the card was taken out") from e
