"""Login challenges: signed ahead into a stock, issued to one browser, taken once.

An anonymous request must not buy a signature of the HSM: challenges are signed
into a stock by the background worker, and a request only draws one. There is
no way to read a challenge without using it up.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Never, Protocol

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pkcs11_bridge.agent import challenge_proof
from signer.backend import PayloadSigner
from signer.errors import (
    ChallengeExpired,
    ChallengeNotFound,
    ChallengeOfAnotherBrowser,
    ChallengeStockEmpty,
)
from signer.payload import Purpose, login_challenge_payload

_SEAL = object()

RANDOM_BYTES = 24
OWNER = "login"
REFILL_TURN = timedelta(milliseconds=100)
"""How long one turn of refilling goes on signing: receipts wait behind it for the same device."""


@dataclass(frozen=True, slots=True)
class StockedNonce:
    """A signed nonce that no browser has seen.

    Attributes:
        origin: the site's origin, which the proof binds.
        nonce: 128 characters of base64 (96 bytes).
        expires_at: when the proof inside ends, aware UTC, whole seconds.
    """

    origin: str
    nonce: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class IssuedChallenge:
    """A challenge that one browser session may answer once.

    Attributes:
        challenge_id: 32 hexadecimal digits, random.
        nonce: 128 characters of base64.
        origin: the site's origin.
        browser_binding: SHA-256 of the browser session's secret, 32 bytes.
        expires_at: aware UTC; at this instant it is over.
    """

    challenge_id: str
    nonce: str
    origin: str
    browser_binding: bytes = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SpentChallenge:
    """A challenge that was in force and is gone from the store; made by `take_challenge`.

    Attributes:
        nonce: the text that the card signed, 128 characters.
        origin: the origin that the card signed.
    """

    nonce: str
    origin: str
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "a SpentChallenge is made by take_challenge() alone"
            raise TypeError(msg)

    def __reduce__(self) -> Never:
        msg = "a SpentChallenge cannot be pickled"
        raise TypeError(msg)


class ChallengeStore(Protocol):
    """Stock and issued challenges; each call is one durable transaction."""

    def add_stock(self, nonces: list[StockedNonce]) -> None:
        """Put signed nonces into the stock."""

    def count_stock(self, origin: str, *, usable_until: datetime) -> int:
        """How many nonces of an origin have a proof that lasts until then."""

    def draw(self, origin: str, *, usable_until: datetime) -> StockedNonce | None:
        """Take one nonce out of the stock whose proof lasts until then; None if there is none.

        Of any number of simultaneous calls no two get the same nonce.
        """

    def issue(self, challenge: IssuedChallenge) -> None:
        """Keep an issued challenge until it is taken."""

    def take(self, challenge_id: str) -> IssuedChallenge | None:
        """Remove a challenge and return it; of simultaneous calls one gets it."""

    def purge(self, *, expired_before: datetime) -> int:
        """Remove what nobody can use any more; the number removed."""


@dataclass(frozen=True, slots=True)
class StockPolicy:
    """How many challenges are kept ready, and how long each is good.

    Attributes:
        target: how many usable nonces to keep in stock, at least 1.
        challenge_life: how long a browser has to answer.
        shelf_life: how long a nonce may lie in stock before it is drawn.
    """

    target: int
    challenge_life: timedelta
    shelf_life: timedelta

    def __post_init__(self) -> None:
        if self.target < 1 or min(self.challenge_life, self.shelf_life) <= timedelta(0):
            msg = "a stock needs a target of at least 1 and positive lives"
            raise ValueError(msg)


def refill_stock(
    store: ChallengeStore,
    signer: PayloadSigner,
    *,
    origin: str,
    policy: StockPolicy,
    at: datetime,
    draw_random: Callable[[int], bytes] = secrets.token_bytes,
    stopwatch: Callable[[], float] = time.monotonic,
) -> int:
    """Sign nonces for one turn, or until the stock of an origin is full; in the background alone.

    A turn signs at least one and begins none after REFILL_TURN, so a device that signs slowly is
    free again for more urgent signatures; what it signed is in stock when it ends.

    Args:
        store: where the stock is.
        signer: holds the login-challenge key.
        origin: `https://host[:port]`.
        policy: target and lives.
        at: now, aware UTC.
        draw_random: gives that many random bytes.
        stopwatch: monotonic seconds.

    Returns:
        How many were added; 0 when the stock is full.
    """
    missing = policy.target - store.count_stock(origin, usable_until=at + policy.challenge_life)
    if missing <= 0:
        return 0
    expires_at = (at + policy.shelf_life + policy.challenge_life).replace(microsecond=0)
    end = stopwatch() + REFILL_TURN.total_seconds()
    signed: list[StockedNonce] = []
    try:
        while len(signed) < missing and not (signed and stopwatch() >= end):
            signed.append(_sign_nonce(signer, origin, draw_random(RANDOM_BYTES), expires_at, at))
    finally:
        # What was signed before the signer failed was paid for.
        if signed:
            store.add_stock(signed)
    return len(signed)


def _sign_nonce(
    signer: PayloadSigner, origin: str, random: bytes, expires_at: datetime, at: datetime
) -> StockedNonce:
    public_key = signer.public_key(Purpose.LOGIN_CHALLENGE)
    spki = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    kid = challenge_proof.key_id(spki)
    expiry = int(expires_at.timestamp())
    payload = login_challenge_payload(
        challenge_proof.signed_text(origin, random, kid, expiry),
    )
    signature = signer.sign(payload, owner=OWNER, at=at)
    nonce = challenge_proof.encode(random, kid, expiry, signature.raw)
    return StockedNonce(origin, nonce, datetime.fromtimestamp(expiry, tz=UTC))


def issue_challenge(
    store: ChallengeStore,
    *,
    origin: str,
    browser_binding: bytes,
    policy: StockPolicy,
    at: datetime,
) -> IssuedChallenge:
    """Draw a nonce from the stock and bind it to one browser session.

    Args:
        store: stock and challenges.
        origin: the site's origin.
        browser_binding: SHA-256 of the browser session's secret, 32 bytes.
        policy: gives the challenge's life.
        at: now, aware UTC.

    Raises:
        ChallengeStockEmpty: none is in stock now; the caller asks again later.
    """
    expires_at = at + policy.challenge_life
    stocked = store.draw(origin, usable_until=expires_at)
    if stocked is None:
        raise ChallengeStockEmpty("no signed challenge is in stock")
    challenge = IssuedChallenge(
        challenge_id=secrets.token_hex(16),
        nonce=stocked.nonce,
        origin=origin,
        browser_binding=browser_binding,
        expires_at=expires_at,
    )
    store.issue(challenge)
    return challenge


def take_challenge(
    store: ChallengeStore,
    unverified_challenge_id: str,
    *,
    origin: str,
    browser_binding: bytes,
    at: datetime,
) -> SpentChallenge:
    """Remove a challenge, whatever follows, then see whether it was in force.

    Raises:
        ChallengeNotFound: there is none of this id and origin (any more).
        ChallengeOfAnotherBrowser: it was issued to another browser session.
        ChallengeExpired: its time is over.
    """
    challenge = store.take(unverified_challenge_id)
    if challenge is None or challenge.origin != origin:
        raise ChallengeNotFound("the challenge is unknown or was used before")
    if not secrets.compare_digest(challenge.browser_binding, browser_binding):
        raise ChallengeOfAnotherBrowser("the challenge was issued to another browser")
    if at >= challenge.expires_at:
        raise ChallengeExpired("the challenge's time is over")
    return SpentChallenge(challenge.nonce, challenge.origin, _SEAL)
