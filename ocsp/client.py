"""Asking the issuer's responders: the fallback order, retries, and who is left alone for a while.

Who is asked comes from the issuer's profile alone; a certificate's own AIA is never dialled. What
comes back is judged by `ocsp.response`, and nothing but a judged answer is a status.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ocsp.breaker import Breakers
from ocsp.certificate import check_validity
from ocsp.chain import ValidatedChain
from ocsp.config import IssuerProfile, RequestMethod
from ocsp.errors import (
    AnswerHttpWrong,
    AnswerRefused,
    DeadlineExceeded,
    DestinationNotRegistered,
    PathMember,
    ResponderDeclined,
    ResponderResting,
    TransportError,
    TransportFailed,
)
from ocsp.request import CONTENT_TYPE as REQUEST_TYPE
from ocsp.request import OcspQuery, build_query, get_url
from ocsp.response import CONTENT_TYPE as RESPONSE_TYPE
from ocsp.response import judge_answer
from ocsp.status import AnsweredStatus, Attempt, CertificateStatus, Unavailable
from ocsp.transport import HttpAnswer, HttpClient
from ocsp.trust import DelegatesOf, refuse_all

PURPOSE = "ocsp"
"""Under which responders are registered with the egress."""

RETRY_PAUSE = timedelta(milliseconds=100)
"""Before a second attempt, on average; doubled before each further one."""

_PASSING = frozenset({"try_later", "internal_error"})
"""Response statuses of a responder that is in trouble (RFC 6960 section 2.3)."""


def _tell_nobody(_attempt: Attempt) -> None:
    """Where no one wants to know."""


@dataclass(frozen=True, slots=True)
class OcspClient:
    """`ocsp.trust.StatusSource`: the issuer's responders, in the order of its profile.

    Attributes:
        http: with the profile's responders registered under PURPOSE.
        breakers: which responders rest, for this process.
        random_bytes: source of nonces and of the jitter.
        pause: waits so many seconds.
        stopwatch: monotonic seconds.
        delegates: says by which lists a delegate without nocheck is good.
        tell: is told of every attempt that failed.
    """

    http: HttpClient
    breakers: Breakers = field(default_factory=Breakers)
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    pause: Callable[[float], None] = time.sleep
    stopwatch: Callable[[], float] = time.monotonic
    delegates: DelegatesOf = refuse_all
    tell: Callable[[Attempt], None] = _tell_nobody

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """What the first responder says that gives an acceptable answer.

        The caller has proved before that somebody holds the leaf's key: nobody without the card
        may make us query a responder.

        Args:
            chain: whose leaf is asked about.
            at: the time of the check, in UTC.

        Raises:
            CertificateExpired, CertificateNotYetValid: nobody is asked about such a certificate.
        """
        # 1. Path and signatures were verified (ValidatedChain), and the leaf is in date now, too.
        check_validity(chain.leaf, PathMember.USER, at)
        if not chain.profile.responders:
            cause = DestinationNotRegistered(f"{chain.profile.name} has no responders")
            return Unavailable(cause, (Attempt("ocsp", cause),))
        end = self.stopwatch() + chain.profile.status_timeout.total_seconds()
        attempts: list[Attempt] = []
        for url in chain.profile.responders:
            answered = self._ask(url, chain, at, end, attempts)
            if answered is not None:
                return answered
        return Unavailable(attempts[-1].cause, tuple(attempts))

    def _ask(
        self, url: str, chain: ValidatedChain, at: datetime, end: float, attempts: list[Attempt]
    ) -> AnsweredStatus | None:
        """One responder, with its retries; None and the reasons added if nothing came of it."""
        resting_until = self.breakers.rests_until(url, at)
        if resting_until is not None:
            self._failed(Attempt(url, ResponderResting(resting_until)), attempts)
            return None
        for number in range(chain.profile.attempts):
            if number:
                self.pause(self._pause_before(number, end))
            try:
                status = self._exchange(url, chain, at, end)
            except (AnswerRefused, TransportError) as e:
                self._failed(Attempt(url, e), attempts)
                if not _is_outage(e):
                    # It is there, and would say the same again.
                    self.breakers.answered(url)
                    return None
            else:
                self.breakers.answered(url)
                return status
        # The rest begins now: what timed out has taken longer than the first one lasts.
        took = self.stopwatch() - (end - chain.profile.status_timeout.total_seconds())
        self.breakers.failed(url, at + timedelta(seconds=took))
        return None

    def _failed(self, attempt: Attempt, attempts: list[Attempt]) -> None:
        attempts.append(attempt)
        self.tell(attempt)

    def _pause_before(self, number: int, end: float) -> float:
        """Half to one and a half of the pause, so that many clients do not return at once."""
        jitter = 0.5 + int.from_bytes(self.random_bytes(2)) / 65_536
        seconds = RETRY_PAUSE.total_seconds() * 2 ** (number - 1) * jitter
        return float(max(0.0, min(seconds, end - self.stopwatch())))

    def _exchange(
        self, url: str, chain: ValidatedChain, at: datetime, end: float
    ) -> AnsweredStatus:
        # 2, 3. A new question, so that no earlier answer fits it.
        profile = chain.profile
        query = build_query(
            chain.leaf,
            chain.issuer,
            certid_hash=profile.certid_hash,
            nonce=profile.nonce,
            random_bytes=self.random_bytes,
        )
        left = timedelta(seconds=end - self.stopwatch())
        if left <= timedelta(0):
            raise DeadlineExceeded(f"all of {profile.status_timeout} was used up")
        unverified_answer = self._send(url, query, profile, min(left, profile.answer_timeout))
        # 5 to 16, and 18.
        return judge_answer(
            unverified_answer,
            query=query,
            issuer=chain.path[1],
            profile=profile,
            responder_url=url,
            at=at,
            delegate_status=self.delegates(chain, at),
        )

    def _send(
        self, url: str, query: OcspQuery, profile: IssuerProfile, timeout: timedelta
    ) -> HttpAnswer:
        # 4. GET where the whole URL is short, else POST.
        short = get_url(url, query.der) if profile.method is RequestMethod.AUTO else None
        if short is not None:
            return self.http.get(
                PURPOSE,
                short,
                accept=RESPONSE_TYPE,
                max_bytes=profile.answer_max_bytes,
                timeout=timeout,
            )
        return self.http.post(
            PURPOSE,
            url,
            query.der,
            content_type=REQUEST_TYPE,
            accept=RESPONSE_TYPE,
            max_bytes=profile.answer_max_bytes,
            timeout=timeout,
        )


def _is_outage(error: AnswerRefused | TransportError) -> bool:
    """Whether the responder is in trouble, so that it may do better soon."""
    match error:
        case TransportFailed():
            return True
        case ResponderDeclined():
            return error.response_status in _PASSING
        case AnswerHttpWrong():
            return error.status >= 500
        case _:
            return False
