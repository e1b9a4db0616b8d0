"""One key on several tokens: load is spread, and one request fails over within its deadline.

Whoever signs has spent a permit before. Several tokens may be asked for the same bytes under it,
one after the other, and one answer leaves: that of the last one asked (ADR 0017).
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from pkcs11_bridge.breaker import Breaker
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.errors import (
    CallRefused,
    KeyMismatch,
    KeyRetiredOnToken,
    KeyUnsupported,
    MechanismUnsupported,
    Misconfigured,
    TokenBusy,
    TokenError,
    TokenHung,
)
from pkcs11_bridge.keyring import KeyAlgorithm, PublicKey, SigningKey


class ClusterMember:
    """One of the tokens.

    Args:
        name: of the token, for people.
        open_key: finds the key there; raises TokenError.
    """

    def __init__(self, name: str, open_key: Callable[[], SigningKey]) -> None:
        self.name = name
        self._open_key = open_key
        self._key: SigningKey | None = None
        self.breaker = Breaker()
        self.calls = 0
        """How many are under way."""

    def key(self) -> SigningKey:
        """The key there, looked up at the first call.

        Raises:
            KeyUnsupported: this token cannot sign with it, whatever another one can.
            TokenError: it cannot be had.
        """
        if self._key is None:
            try:
                self._key = self._open_key()
            except (CallRefused, MechanismUnsupported) as error:
                raise KeyUnsupported(f"the token {self.name} has no use for the key") from error
        return self._key


class KeyCluster:
    """The one key that several tokens hold; made by ``open_cluster``. Safe for threads."""

    def __init__(
        self,
        members: Sequence[ClusterMember],
        public_key: PublicKey,
        algorithm: KeyAlgorithm,
        *,
        deadline_seconds: float,
        stopwatch: Callable[[], float],
    ) -> None:
        self.public_key = public_key
        self.algorithm = algorithm
        self._members = members
        self._deadline_seconds = deadline_seconds
        self._stopwatch = stopwatch
        self._lock = threading.Lock()
        self._turn = 0
        self._refusal: TokenError = TokenBusy("every token of the cluster is kept out")
        """Why a token failed last; whoever meets none that may be asked is told it as well."""

    def sign_digest(self, digest: bytes, hash_name: HashName) -> bytes:
        """As ``TokenKey.sign_digest``; raises what the last token said that was asked."""
        return self._sign(lambda key: key.sign_digest(digest, hash_name))

    def sign_message(self, message: bytes) -> bytes:
        """As ``TokenKey.sign_message``; raises what the last token said that was asked."""
        return self._sign(lambda key: key.sign_message(message))

    def _sign(self, sign: Callable[[SigningKey], bytes]) -> bytes:
        deadline = self._stopwatch() + self._deadline_seconds
        refusal: TokenError | None = None
        asked: list[ClusterMember] = []
        while (begun := self._begin(asked)) is not None:
            member, is_probe = begun
            asked.append(member)
            try:
                with self._watching(member, is_probe=is_probe):
                    key = member.key()
                    self._require_same(key, member)
                    return sign(key)
            except (CallRefused, MechanismUnsupported):
                raise  # it would be refused elsewhere as well
            except TokenError as error:
                refusal = error
            if self._stopwatch() >= deadline:
                break
        raise refusal or self._refusal.bare()

    def _begin(self, asked: Sequence[ClusterMember]) -> tuple[ClusterMember, bool] | None:
        """The token with the fewest calls under way, of those that may be asked; None for none.

        And whether this call finds out whether the token is well again.
        """
        with self._lock:
            at = self._stopwatch()
            self._turn += 1
            ready = [
                member
                for member in self._members
                if member not in asked and member.breaker.lets_pass(at)
            ]
            if not ready:
                return None
            # Of equals by turns.
            turn = self._turn % len(ready)
            chosen = min(ready[turn:] + ready[:turn], key=lambda member: member.calls)
            is_probe = not chosen.breaker.is_closed
            chosen.breaker = chosen.breaker.began()
            chosen.calls += 1
            return chosen, is_probe

    @contextmanager
    def _watching(self, member: ClusterMember, *, is_probe: bool) -> Iterator[None]:
        after: Callable[[Breaker], Breaker] = Breaker.left_open
        try:
            yield
            after = Breaker.succeeded
        except (TokenBusy, CallRefused, MechanismUnsupported):
            raise  # which says nothing of the token's health
        except TokenError as error:
            at_once = isinstance(error, TokenHung | Misconfigured)
            after = partial(Breaker.failed, at=self._stopwatch(), at_once=at_once)
            self._refusal = error.bare()
            raise
        finally:
            with self._lock:
                member.calls -= 1
                # A call from before the breaker opened tells nothing new by its failure.
                if is_probe or member.breaker.is_closed or after is Breaker.succeeded:
                    member.breaker = after(member.breaker)

    def _require_same(self, key: SigningKey, member: ClusterMember) -> None:
        if key.public_key != self.public_key:
            raise KeyMismatch(f"the token {member.name} holds another key of this name")


def open_cluster(
    members: Sequence[ClusterMember],
    *,
    deadline_seconds: float,
    stopwatch: Callable[[], float] = time.monotonic,
) -> KeyCluster:
    """Look the key up on every token that answers; one is enough to begin.

    Args:
        members: at least two.
        deadline_seconds: after it no further token is asked for one signature.
        stopwatch: monotonic seconds.

    Raises:
        KeyMismatch: two tokens hold different keys of this name.
        KeyRetiredOnToken: one token has it marked as retired.
        TokenError: no token gives the key; the last one's error.
    """
    if len(members) < 2:
        raise Misconfigured("a cluster has at least two tokens")
    found: list[tuple[ClusterMember, SigningKey]] = []
    refusal: TokenError | None = None
    for member in members:
        try:
            found.append((member, member.key()))
        except KeyRetiredOnToken:
            raise  # whoever retired it meant the key, which is the same on the others
        except TokenError as error:
            refusal = error
            member.breaker = member.breaker.failed(stopwatch(), at_once=True)
    if not found:
        raise refusal or Misconfigured("no token gives the key")
    _, first = found[0]
    for member, key in found[1:]:
        if key.public_key != first.public_key:
            raise KeyMismatch(f"the token {member.name} holds another key of this name")
    return KeyCluster(
        members,
        first.public_key,
        first.algorithm,
        deadline_seconds=deadline_seconds,
        stopwatch=stopwatch,
    )
