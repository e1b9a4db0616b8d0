"""A responder that can go down, and a cached source over it."""

from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal

from ocsp.cache import CachedStatus, KeptAnswer
from ocsp.chain import ValidatedChain, validate_path
from ocsp.config import CacheUse, NonceMode
from ocsp.errors import ConnectionFailed, TransportError
from tests.support.answers import MemoryAnswers
from tests.support.certificates import NOW, development_like_pki
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer, standard_spec
from tests.support.trust import CannedPoster, client, trust_store

PKI = development_like_pki()
KEY = sha256(PKI.leaf.der).digest()
DOWN = ConnectionFailed("refused")
SINGLE = SingleSpec(next_update=NOW + timedelta(minutes=30))


def chain_with(
    cache: CacheUse, nonce: NonceMode = NonceMode.PREFER, **changes: object
) -> ValidatedChain:
    """The citizen's, with its issuer's profile changed so."""
    store = trust_store(PKI, cache=cache, nonce=nonce, attempts=1, **changes)
    return validate_path(PKI.leaf.der, store, NOW)


FIRST, OUTAGE, OFF = (chain_with(use) for use in (CacheUse.FIRST, CacheUse.OUTAGE, CacheUse.OFF))


class Responder(CannedPoster):
    """Answers until `down`; `single` bends what it says, `now` dates it."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.down: TransportError | None = None
        self.single = SINGLE
        self.now = NOW
        self.signed_at: datetime | None = None  # None: now
        self.nonce: Literal["echo"] | None = "echo"
        self.signer = PKI.delegate

    def _say(self, request: bytes) -> bytes | TransportError:
        if self.down is not None:
            return self.down
        spec: AnswerSpec = replace(
            standard_spec(PKI, request), signer=self.signer, certificates=(self.signer,)
        )
        single = replace(self.single, this_update=self.now)
        produced_at = self.signed_at or self.now
        return answer(replace(spec, singles=(single,), produced_at=produced_at, nonce=self.nonce))


class Cache:
    """A cached source over such a responder."""

    def __init__(self) -> None:
        self.responder = Responder()
        self.store = MemoryAnswers()
        self.source = CachedStatus(client(self.responder), self.store, pause=lambda _: None)

    @property
    def asked(self) -> int:
        return len(self.responder.posted)

    @property
    def kept(self) -> KeptAnswer:
        return self.store.answers[KEY]

    def tamper(self, **changes: object) -> None:
        self.store.answers[KEY] = replace(self.kept, **changes)  # type: ignore[arg-type]  # KeptAnswer's fields
