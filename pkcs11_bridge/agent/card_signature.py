"""One signature by a person's card, in an order that protects the person.

1. One reader with a card. The card is reset, so that a PIN which a crashed program left verified
   counts for nothing; then the card's own number of PIN tries.
2. The card's authentication certificate; among several the person chooses.
3. No try left: no PIN is asked for. One left: only if the person says that it may be spent.
4. The PIN: asked once, or typed on the reader; tried once.
5. The card signs; its signature is verified before it leaves.
6. Whatever happened after step 1: C_Logout, C_Finalize, and the card is reset.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pkcs11_bridge import card as real_card
from pkcs11_bridge import readers as real_readers
from pkcs11_bridge.agent import certificate_choice
from pkcs11_bridge.agent.certificate_choice import AuthenticationCertificate
from pkcs11_bridge.agent.errors import CertificateNotSuitable, FinalTryRefused
from pkcs11_bridge.agent.opensc_conf import reset_on_disconnect
from pkcs11_bridge.agent.person import Person, PinQuestion
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.errors import (
    CardRemoved,
    CardUnsupported,
    KeyGone,
    PinIncorrect,
    PinLocked,
    RetryLater,
    TokenError,
    TokenNotFound,
)
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.pin import Pin, PinpadEntry
from pkcs11_bridge.readers import Missing, Reader


class CardReaders(Protocol):
    """What is asked of the PC/SC side; pkcs11_bridge.readers in real life."""

    def wait_for_card(
        self, seconds: float, reader_name: str | None, waiting: Callable[[Missing], None]
    ) -> Reader:
        """The one reader with a card."""
        ...

    def card_has_gone(self, card: Reader) -> bool:
        """Whether the card that was found is out by now."""
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

    def has_pin_pad(self, slot_id: int) -> bool:
        """Whether the PIN is typed on the reader."""
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


_MAY_MEAN_REMOVAL = (RetryLater, TokenNotFound, CardUnsupported, KeyGone, CertificateNotSuitable)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What the person is told that the PIN is for."""

    origin: str
    confirmed: bool
    """A pinned key proved that the request comes from this origin's service."""


@dataclass(frozen=True, slots=True)
class CardSignature:
    """A signature, verified with the card's own certificate (which nobody has judged yet)."""

    certificate: AuthenticationCertificate
    signature: bytes
    """As ``CardSession.sign_digest`` returns it."""
    reader: str


def sign_with_card(
    message: bytes,
    purpose: Purpose,
    module_for: Callable[[Reader], Path],
    person: Person,
    *,
    at: datetime,
    wait_seconds: float = 0.0,
    reader_name: str | None = None,
    cards: CardAccess = REAL_CARDS,
) -> CardSignature:
    """Sign SHA-256 of a message with the person's card, in the order above.

    Args:
        message: of ours, never a caller's raw text.
        purpose: told to the person.
        module_for: the PKCS#11 module for the card in a reader.
        person: told what is going on; asked for the PIN after everything else is known to be right.
        at: now, timezone-aware.
        wait_seconds: how long to wait for reader and card.
        reader_name: the reader to use, where several hold cards.
        cards: the way to the card.

    Raises:
        ReaderServiceDown, NoReader, NoCard, CardMute, CardRemoved, TokenAmbiguous, TokenBusy.
        CertificateNotSuitable (and its kinds), CertificateAmbiguous.
        FinalTryRefused, PinIncorrect (with the card's own count), PinLengthWrong.
        CanceledAtDevice: on the reader.
        PinLocked: also when the try that was wrong was the last.
        KeyNotFound, ExtractableKey, CardSignatureInvalid; TokenError in general.
    """
    reader = cards.readers.wait_for_card(wait_seconds, reader_name, person.told_waiting)
    module = module_for(reader)
    with card_for_one_use(cards, module, reader) as card:
        told_by_card = cards.readers.pin_tries_left(reader.name)
        chosen = certificate_choice.choose(card.certificates(), at, person.choose)
        slot_id = chosen.stored.slot_id
        tries = require_try(card, slot_id, told_by_card)
        on_pin_pad = card.has_pin_pad(slot_id)
        person.told(
            PinQuestion(
                purpose.origin,
                purpose.confirmed,
                chosen.holder,
                tries,
                chosen.not_after,
                on_pin_pad,
            )
        )
        if tries == 1 and not person.spends_final_try():
            raise FinalTryRefused("one PIN try is left; a wrong PIN would lock the card")
        pin = PinpadEntry() if on_pin_pad else person.pin()
        with tries_told(cards.readers, reader.name):
            card.login(slot_id, pin)
            digest = hashlib.sha256(message).digest()
            signature = card.sign_digest(chosen.stored, chosen.key_algorithm, digest, "sha256")
    chosen.require_signature(signature, message)
    return CardSignature(chosen, signature, reader.name)


@contextmanager
def card_for_one_use(cards: CardAccess, module: Path, reader: Reader) -> Iterator[Card]:
    """A card that is reset before and after, whatever happens in between (steps 1 and 6).

    Raises:
        CardRemoved: also where the module called the removal something else.
        TokenBusy, CardMute, ReaderServiceDown, TokenError: as ``reset_card`` and ``open_card``.
    """
    with _removal_told(cards.readers, reader), _card(cards, module, reader.name) as card:
        yield card


def require_try(card: Card, slot_id: int, told_by_card: int | None) -> int | None:
    """PIN tries left, by the card's own count or else the module's; None for unknown.

    Raises:
        PinLocked: none is.
    """
    tries = card.tries_left(slot_id) if told_by_card is None else told_by_card
    if tries == 0:
        raise PinLocked("the card accepts no PIN until its issuer unblocks it")
    return tries


@contextmanager
def tries_told(readers: CardReaders, reader_name: str) -> Iterator[None]:
    """A wrong PIN leaves with the card's own count, and as PinLocked if it was the last."""
    try:
        yield
    except PinIncorrect as e:
        told = None
        # A card that is gone by now must not hide that the PIN was wrong.
        with suppress(TokenError):
            told = readers.pin_tries_left(reader_name)
        told = e.tries_left if told is None else told
        if told == 0:
            raise PinLocked("the PIN was wrong, and that was the last try") from e
        raise PinIncorrect(told) from e


@contextmanager
def _card(cards: CardAccess, module: Path, reader_name: str) -> Iterator[Card]:
    cards.readers.reset_card(reader_name)
    try:
        with reset_on_disconnect(), cards.open_card(module, reader_name) as card:
            yield card
    finally:
        # Also where the module did it: a user's own OpenSC configuration may say otherwise. A
        # card that is out or unreachable is as closed as can be.
        with suppress(TokenError):
            cards.readers.reset_card(reader_name)


@contextmanager
def _removal_told(readers: CardReaders, found: Reader) -> Iterator[None]:
    """A pulled card looks like anything to a module (OpenSC: "general error"): ask the reader."""
    try:
        yield
    except _MAY_MEAN_REMOVAL as e:
        if not readers.card_has_gone(found):
            raise
        raise CardRemoved("the card was taken out") from e
