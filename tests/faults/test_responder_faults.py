"""An hour with a responder that is down, slow, lying or flapping: logins go on as the profile says.

Time is an argument and the way out is injected, so an hour takes a second or two; every login is a
question about the status of the same card, one each ten seconds.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from ocsp.breaker import Breakers
from ocsp.cache import CachedStatus
from ocsp.chain import validate_path
from ocsp.config import CacheUse, NonceMode, TrustStore
from ocsp.errors import (
    CertificateStatusUnavailable,
    ConnectionFailed,
    DeadlineExceeded,
    NonceMismatch,
    ResponderResting,
    TransportError,
    TrustError,
)
from ocsp.status import Attempt
from ocsp.transport import HttpAnswer
from ocsp.trust import establish_trust
from tests.support.answers import MemoryAnswers
from tests.support.certificates import NOW, development_like_pki
from tests.support.ocsp_answers import SingleSpec, answer, standard_spec
from tests.support.trust import CannedPoster, client, trust_store

PKI = development_like_pki()
FIRST, SECOND = "http://first.example/ocsp", "http://second.example/ocsp"
STEP = timedelta(seconds=10)
LOGINS = 360
# Five failed rounds, five rests that double, then one round each half a minute.
MOST_ROUNDS = 5 + 5 + LOGINS * 10 // 30
"""In an hour."""

Mood = Callable[[datetime], str]


@dataclass
class Simulation:
    """A clock, two responders with moods, and what became of each login."""

    moods: dict[str, Mood]
    cache: CacheUse = CacheUse.OFF
    nonce: NonceMode = NonceMode.REQUIRE
    now: datetime = NOW
    elapsed: float = 0.0
    recorded: dict[bytes, bytes] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    causes: Counter[type] = field(default_factory=Counter)
    told: list[Attempt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.poster = _Moody(self)
        self.source = CachedStatus(
            client(
                self.poster,
                breakers=Breakers(),
                stopwatch=lambda: self.elapsed,
                tell=self.told.append,
            ),
            MemoryAnswers(),
        )
        self.store: TrustStore = trust_store(
            PKI, responders=tuple(self.moods), cache=self.cache, nonce=self.nonce
        )

    def login(self) -> str:
        """Where the status came from, or the class of the cause."""
        chain = validate_path(PKI.leaf.der, self.store, self.now)
        try:
            trusted = establish_trust(chain, source=self.source, at=self.now)
        except CertificateStatusUnavailable as refusal:
            self.causes[type(refusal.cause)] += 1
            return type(refusal.cause).__name__
        except TrustError as refusal:
            return type(refusal).__name__
        return "cached" if trusted.evidence.from_cache else trusted.evidence.responder_url

    def hour(self) -> Counter[str]:
        """What became of an hour's logins."""
        return Counter(self._logins())

    def _logins(self) -> Iterator[str]:
        for _ in range(LOGINS):
            yield self.login()
            self.now += STEP


class _Moody(CannedPoster):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(lambda _: b"")
        self.simulation = simulation

    def _answer(self, purpose: str, url: str, body: bytes, max_bytes: int) -> HttpAnswer:
        simulation = self.simulation
        simulation.asked[url] += 1
        match simulation.moods[url](simulation.now):
            case "down":
                raise ConnectionFailed("refused")
            case "slow":
                simulation.elapsed += 5.0
                raise DeadlineExceeded("no whole answer in time")
            case "replaying":
                # The first answer it ever gave, to every question.
                first = simulation.recorded.setdefault(b"", self._say(body))
                return HttpAnswer(200, "application/ocsp-response", first)
            case "revoking":
                return self._ok(self._say(body, SingleSpec(status="revoked")))
            case _:
                return self._ok(self._say(body))

    def _ok(self, der: bytes) -> HttpAnswer:
        return HttpAnswer(200, "application/ocsp-response", der)

    def _say(self, request: bytes, single: SingleSpec | None = None) -> bytes:
        now = self.simulation.now
        dated = replace(
            single or SingleSpec(), this_update=now, next_update=now + timedelta(minutes=10)
        )
        spec = replace(standard_spec(PKI, request), singles=(dated,), produced_at=now)
        return answer(spec)


def always(mood: str) -> Mood:
    return lambda _: mood


def from_minute(minute: int, mood: str) -> Mood:
    return lambda now: mood if now >= NOW + timedelta(minutes=minute) else "well"


def flapping(now: datetime) -> str:
    """Well and down by turns, for a minute and a half each."""
    return "well" if int((now - NOW).total_seconds()) // 90 % 2 == 0 else "down"


@pytest.mark.parametrize(
    ("mood", "cause"), [("down", ConnectionFailed), ("slow", DeadlineExceeded)]
)
def test_without_fallback_or_cache_nobody_passes_and_the_cause_is_named(
    mood: str, cause: type[TransportError]
) -> None:
    simulation = Simulation({FIRST: always(mood)})
    became = simulation.hour()
    assert set(simulation.causes) == {cause, ResponderResting}
    assert sum(became.values()) == sum(simulation.causes.values()) == LOGINS
    assert simulation.asked[FIRST] <= 2 * MOST_ROUNDS


@pytest.mark.parametrize("mood", ["down", "slow"])
def test_with_a_second_responder_everybody_passes(mood: str) -> None:
    simulation = Simulation({FIRST: from_minute(10, mood), SECOND: always("well")})
    became = simulation.hour()
    assert became == {FIRST: 60, SECOND: 300}
    assert simulation.causes == {}


def test_a_slow_responder_delays_few_logins() -> None:
    simulation = Simulation({FIRST: always("slow"), SECOND: always("well")})
    assert simulation.hour() == {SECOND: LOGINS}
    assert simulation.elapsed <= MOST_ROUNDS * 10.0


def test_the_cache_stands_in_until_its_answer_ends_and_no_longer() -> None:
    simulation = Simulation({FIRST: from_minute(20, "down")}, cache=CacheUse.OUTAGE)
    became = simulation.hour()
    # The last answer is of 19:50 and good for ten minutes: until just before 29:50.
    assert became[FIRST] == 120
    assert became["cached"] == 59
    assert became["ConnectionFailed"] + became["ResponderResting"] == LOGINS - 120 - 59


def test_a_flapping_responder_and_a_cache_let_everybody_pass() -> None:
    simulation = Simulation({FIRST: flapping}, cache=CacheUse.OUTAGE)
    became = simulation.hour()
    assert set(became) == {FIRST, "cached"}
    # It is believed soon after it came back: no rest is longer than half a minute.
    assert became[FIRST] > 100


def test_a_flapping_responder_without_a_cache_costs_its_own_time_alone() -> None:
    became = Simulation({FIRST: flapping}).hour()
    assert became[FIRST] > 100
    assert set(became) == {FIRST, "ConnectionFailed", "ResponderResting"}


def test_a_liar_lets_nobody_pass_and_is_told_of() -> None:
    simulation = Simulation({FIRST: from_minute(10, "replaying")})
    became = simulation.hour()
    # The first answer that it repeats is right once: it was made for that very question.
    # Then it is another's, and from nextUpdate and the tolerance on it is stale besides.
    assert became == {FIRST: 61, "NonceMismatch": 90, "AnswerStale": 209}
    assert [type(attempt.cause) for attempt in simulation.told[:90]] == [NonceMismatch] * 90


def test_a_liar_beside_an_honest_one_harms_nobody() -> None:
    simulation = Simulation({FIRST: always("replaying"), SECOND: always("well")})
    became = simulation.hour()
    assert became == {FIRST: 1, SECOND: LOGINS - 1}


@pytest.mark.parametrize("cache", [CacheUse.OFF, CacheUse.OUTAGE])
def test_a_revocation_refuses_from_the_next_login_on_even_when_it_goes_down(
    cache: CacheUse,
) -> None:
    def mood(now: datetime) -> str:
        minute = (now - NOW).total_seconds() / 60
        return "well" if minute < 20 else "revoking" if minute < 25 else "down"

    became = Simulation({FIRST: mood}, cache=cache).hour()
    assert became[FIRST] == 120
    assert "cached" not in became
    # The revocation holds for as long as that answer, then the cause is the outage.
    assert became["CertificateRevoked"] == 30 + 59


def test_with_the_cache_first_a_revocation_is_heard_when_the_kept_answer_ends() -> None:
    simulation = Simulation(
        {FIRST: from_minute(20, "revoking")}, cache=CacheUse.FIRST, nonce=NonceMode.PREFER
    )
    became = simulation.hour()
    assert became["CertificateRevoked"] == LOGINS - 120
    assert simulation.asked[FIRST] == 2 + LOGINS - 120
