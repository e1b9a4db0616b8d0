"""From a page's challenge to a Web eID token.

1. The origin has an origin's form; what is pinned for it decides what it must prove.
2. A pinned origin's nonce proves itself, fresh and for this very origin, or nothing more happens:
   no reader, no module, no PIN prompt. An unknown origin is refused unless the caller says, for
   this origin, that the person accepts it as not confirmed.
3. The card signs (``card_signature``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.agent.card_signature import REAL_CARDS, CardAccess, Purpose, sign_with_card
from pkcs11_bridge.agent.errors import OriginNotConfirmed, RequestInvalid
from pkcs11_bridge.agent.origins import PinnedOrigins, checked_origin
from pkcs11_bridge.agent.person import Person
from pkcs11_bridge.agent.token import AuthenticationToken, build_token, signed_message
from pkcs11_bridge.readers import Reader

MIN_NONCE_LENGTH = 44
MAX_NONCE_LENGTH = 128


@dataclass(frozen=True, slots=True)
class UnconfirmedOriginAccepted:
    """The person was shown that nobody vouches for this origin, and went on."""

    origin: str


def authenticate(
    origin: str,
    nonce: str,
    origins: PinnedOrigins,
    module_for: Callable[[Reader], Path],
    person: Person,
    *,
    at: datetime,
    accepted: UnconfirmedOriginAccepted | None = None,
    wait_seconds: float = 0.0,
    reader_name: str | None = None,
    cards: CardAccess = REAL_CARDS,
) -> AuthenticationToken:
    """Sign a login challenge with the person's card, in the order above.

    Args:
        origin: the page's origin, told by the browser.
        nonce: the challenge, as the page sent it.
        origins: the pinned origins.
        module_for: the PKCS#11 module for the card in a reader.
        person: told and asked as ``sign_with_card`` says.
        at: now, timezone-aware.
        accepted: the person's acceptance of one unknown origin; never helps a pinned one.
        wait_seconds: how long to wait for reader and card.
        reader_name: the reader to use, where several hold cards.
        cards: the way to the card.

    Raises:
        OriginInvalid, RequestInvalid, OriginNotConfirmed, ProofMissing, ProofForeign, ProofStale,
            ProofTooLongLived: before any reader or module is touched.
        AgentError, TokenError: as ``sign_with_card``.
    """
    confirmed = _require_proof(origin, nonce, origins, accepted, at)
    signed = sign_with_card(
        signed_message(origin, nonce),
        Purpose(origin, confirmed),
        module_for,
        person,
        at=at,
        wait_seconds=wait_seconds,
        reader_name=reader_name,
        cards=cards,
    )
    chosen = signed.certificate
    return build_token(chosen.stored.unverified_der, chosen.algorithm, signed.signature)


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
