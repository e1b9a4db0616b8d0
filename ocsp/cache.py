"""Answers that were believed once, kept for logins to come and judged again each time.

What is kept are the bytes alone: the verdict, the times and the age come from what is signed in
them, at each reading, so that whoever can write to the store can take an answer away but never
invent one. A kept answer was made for another question: it never counts as nonce-fresh (check 17).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Protocol

from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.certificate import ReadCertificate
from ocsp.chain import ValidatedChain
from ocsp.config import CacheUse, IssuerProfile, NonceMode
from ocsp.errors import AnswerRefused, KeptTooLong
from ocsp.request import build_query
from ocsp.responder_authority import DelegateStatus, refuse_unchecked
from ocsp.response import CONTENT_TYPE, judge_answer
from ocsp.status import (
    AnsweredStatus,
    CertificateStatus,
    Evidence,
    Good,
    OcspEvidence,
    Unavailable,
)
from ocsp.transport import HttpAnswer
from ocsp.trust import DelegatesOf, StatusSource, refuse_all

WAIT_STEP = timedelta(milliseconds=50)
"""Between two looks for the answer that somebody else is fetching."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer as the store has it: unverified.

    Attributes:
        certificate_sha256: of the certificate that it is about, 32 bytes.
        certificate_der: the certificate itself, to ask again without a login.
        response_der: the OCSPResponse.
        responder_url: where it came from.
        this_update: aware UTC; like the next three, for the store's own order only.
        produced_at: aware UTC.
        is_good: what it said.
        refresh_at: when it is worth another question, aware UTC.
        useless_at: when no reader will believe it any more, aware UTC.
    """

    certificate_sha256: bytes
    certificate_der: bytes = field(repr=False)
    response_der: bytes = field(repr=False)
    responder_url: str
    this_update: datetime
    produced_at: datetime
    is_good: bool
    refresh_at: datetime
    useless_at: datetime


class AnswerStore(Protocol):
    """Where answers are kept for all processes; each call is one transaction."""

    def find(self, certificate_sha256: bytes, *, at: datetime) -> KeptAnswer | None:
        """The answer about a certificate; the reading is noted, now and then."""

    def keep(self, answer: KeptAnswer, *, at: datetime) -> None:
        """Keep a refusal where a good answer is there, and otherwise what is not older.

        Of two as new a refusal stays.
        """

    def claim(self, certificate_sha256: bytes, *, until: datetime, at: datetime) -> bool:
        """Whether the caller is the one that asks; of simultaneous callers one gets it."""

    def release(self, certificate_sha256: bytes) -> None:
        """The claimant has asked."""


@dataclass(frozen=True, slots=True)
class CachedStatus:
    """`ocsp.trust.StatusSource`: another source, with its answers kept as the profile says.

    Attributes:
        inner: asks.
        store: keeps.
        delegates: says by which lists a delegate without nocheck is good.
        pause: waits so many seconds.
        stopwatch: monotonic seconds.
    """

    inner: StatusSource
    store: AnswerStore
    delegates: DelegatesOf = refuse_all
    pause: Callable[[float], None] = time.sleep
    stopwatch: Callable[[], float] = time.monotonic

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """As the source inside, or by an answer that is kept and still good enough."""
        match chain.profile.cache:
            case CacheUse.OFF | CacheUse.OUTAGE:
                return self.ask_and_keep(chain, at)
            case CacheUse.FIRST:
                return self._kept_good(chain, at) or self._one_asks(chain, at)

    def ask_and_keep(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """Ask, whatever is kept; in an outage what is kept stands in, or a refusal alone.

        Lists that stand in for a responder, and answers without our nonce, may be older than its
        last word: a refusal that is kept holds against them until something newer knows better.
        """
        status = self.inner.status_of(chain, at)
        if isinstance(status, Unavailable):
            return self._standing_in(chain, at) or status
        if not status.evidence.nonce_matched:
            heard = self._heard_after(status, chain, at)
            if heard is not None:
                return heard
        if isinstance(status.evidence, OcspEvidence) and self._is_worth_keeping(status, chain, at):
            self.store.keep(_to_keep(chain, status, status.evidence, at), at=at)
        return status

    def _standing_in(self, chain: ValidatedChain, at: datetime) -> AnsweredStatus | None:
        """What is kept; without a cache, a refusal alone: what was heard once is not forgotten."""
        kept = self._kept(chain, at)
        if chain.profile.cache is CacheUse.OFF and isinstance(kept, Good):
            return None
        return kept

    def _is_worth_keeping(
        self, status: AnsweredStatus, chain: ValidatedChain, at: datetime
    ) -> bool:
        """Without a cache a good answer is kept only to end a refusal."""
        if chain.profile.cache is not CacheUse.OFF or not isinstance(status, Good):
            return True
        return self._standing_in(chain, at) is not None

    def _heard_after(
        self, status: AnsweredStatus, chain: ValidatedChain, at: datetime
    ) -> AnsweredStatus | None:
        """A refusal that is kept, and not older than that by which the certificate is good."""
        kept = self._kept(chain, at) if isinstance(status, Good) else None
        if kept is None or isinstance(kept, Good):
            return None
        return kept if _is_not_older(kept.evidence, status.evidence) else None

    def _one_asks(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """Of many who want the same at once one asks; the others wait for what it keeps."""
        key = _key(chain)
        until = at + chain.profile.status_timeout
        end = self.stopwatch() + chain.profile.answer_timeout.total_seconds()
        while not self.store.claim(key, until=until, at=at):
            if self.stopwatch() >= end:
                # Whoever asks may be lost: nobody waits for it longer than for a responder.
                return self.ask_and_keep(chain, at)
            self.pause(WAIT_STEP.total_seconds())
            kept = self._kept_good(chain, at)
            if kept is not None:
                return kept
        try:
            # It may have been kept between our look and our claim.
            return self._kept_good(chain, at) or self.ask_and_keep(chain, at)
        finally:
            self.store.release(key)

    def _kept_good(self, chain: ValidatedChain, at: datetime) -> Good | None:
        """What is kept, if it is good: a refusal is never repeated while the CA can be asked."""
        kept = self._kept(chain, at)
        return kept if isinstance(kept, Good) else None

    def _kept(self, chain: ValidatedChain, at: datetime) -> AnsweredStatus | None:
        unverified_kept = self.store.find(_key(chain), at=at)
        if unverified_kept is None:
            return None
        try:
            return judge_kept(unverified_kept, chain, at, self.delegates(chain, at))
        except AnswerRefused:
            return None


def judge_kept(
    unverified_kept: KeptAnswer,
    chain: ValidatedChain,
    at: datetime,
    delegate_status: DelegateStatus = refuse_unchecked,
) -> AnsweredStatus:
    """What a kept answer says about the chain's leaf now.

    Every check of `ocsp.response` is made again at this time, save the nonce, which was another
    question's. Beyond them, nextUpdate gets no tolerance, and of a good answer the profile's cap
    counts. A refusal is not lost by its age, nor by what became of its signer afterwards.

    Raises:
        AnswerRefused: it is not to be believed, or not any more.
    """
    judge = partial(_judge, unverified_kept, chain, at=at)
    try:
        status = judge(chain.profile, delegate_status=delegate_status)
    except AnswerRefused:
        lasting = replace(chain.profile, max_age=timedelta.max)
        status = judge(lasting, delegate_status=_was_asked, signer_as_of_production=True)
        if isinstance(status, Good):
            raise
    evidence = status.evidence
    if not isinstance(evidence, OcspEvidence):
        raise TypeError("an answer is evidence of its own kind")
    end = useless_at(status, evidence, chain.profile)
    if at >= end:
        raise KeptTooLong(f"kept, and of no use from {end.isoformat()} on")
    return replace(status, evidence=replace(evidence, request_der=None, from_cache=True))


def _judge(
    unverified_kept: KeptAnswer,
    chain: ValidatedChain,
    profile: IssuerProfile,
    *,
    at: datetime,
    delegate_status: DelegateStatus,
    signer_as_of_production: bool = False,
) -> AnsweredStatus:
    query = build_query(
        chain.leaf,
        chain.issuer,
        certid_hash=profile.certid_hash,
        nonce=NonceMode.OFF,
        random_bytes=_no_random_bytes,
    )
    return judge_answer(
        HttpAnswer(200, CONTENT_TYPE, unverified_kept.response_der),
        query=query,
        issuer=chain.path[1],
        profile=profile,
        responder_url=unverified_kept.responder_url,
        at=at,
        delegate_status=delegate_status,
        signer_as_of_production=signer_as_of_production,
    )


def _was_asked(_delegate: ReadCertificate) -> tuple[bytes, ...]:
    """Of the signer of a refusal: its status was asked for when the refusal was heard."""
    return ()


def _is_not_older(refusal: Evidence, good: Evidence) -> bool:
    if isinstance(refusal, OcspEvidence) and isinstance(good, OcspEvidence):
        # A responder may date many answers by one thisUpdate; what it signed later knows better.
        signed = (refusal.this_update, refusal.produced_at)
        return signed >= (good.this_update, good.produced_at)
    return refusal.this_update >= good.this_update


def useless_at(status: AnsweredStatus, evidence: OcspEvidence, profile: IssuerProfile) -> datetime:
    """When an answer may not be used from the cache any more: nextUpdate or the profile's cap.

    A refusal is believed until nextUpdate, if it has one: the cap is about letting people in.
    """
    cap = evidence.this_update + profile.cache_max_age
    if evidence.next_update is None:
        return cap
    return min(cap, evidence.next_update) if isinstance(status, Good) else evidence.next_update


def _to_keep(
    chain: ValidatedChain, status: AnsweredStatus, evidence: OcspEvidence, at: datetime
) -> KeptAnswer:
    end = useless_at(status, evidence, chain.profile)
    return KeptAnswer(
        certificate_sha256=_key(chain),
        certificate_der=chain.leaf.public_bytes(Encoding.DER),
        response_der=evidence.response_der,
        responder_url=evidence.responder_url,
        this_update=evidence.this_update,
        produced_at=evidence.produced_at,
        is_good=isinstance(status, Good),
        # Early, so that an outage begins with an answer that is at most half spent.
        refresh_at=at + max(end - at, timedelta(0)) / 2,
        useless_at=end,
    )


def _key(chain: ValidatedChain) -> bytes:
    return sha256(chain.leaf.public_bytes(Encoding.DER)).digest()


def _no_random_bytes(_size: int) -> bytes:
    raise AssertionError("a question that is never sent has no nonce")
