"""Whom the client asks, how often and by which method; what counts as an outage."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ocsp.breaker import BreakerRules, Breakers
from ocsp.chain import ValidatedChain, validate_path
from ocsp.config import CertIdHash, NonceMode, RequestMethod
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.errors import (
    AddressRefused,
    AnswerHttpWrong,
    CertificateExpired,
    CertificateNotYetValid,
    ConnectionFailed,
    DeadlineExceeded,
    DestinationNotRegistered,
    NonceMismatch,
    ResponderDeclined,
    ResponderResting,
    TransportError,
)
from ocsp.request import MAX_GET_URL, get_url
from ocsp.status import Attempt, Good, Revoked, Unavailable, Unknown
from ocsp.transport import HttpAnswer
from tests.support.certificates import NOW, development_like_pki
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer, standard_spec
from tests.support.trust import CannedPoster, client, trust_store

PKI = development_like_pki()
FIRST, SECOND = "http://first.example/ocsp", "http://second.example/ocsp"
DOWN = ConnectionFailed("refused")


def _chain(**changes: object) -> ValidatedChain:
    store = trust_store(PKI, **({"responders": (FIRST, SECOND)} | changes))
    return validate_path(PKI.leaf.der, store, NOW)


CHAIN = _chain()


def _good(request: bytes) -> bytes:
    return answer(standard_spec(PKI, request))


def _saying(**changes: object) -> Callable[[bytes], bytes]:
    def reply(request: bytes) -> bytes:
        spec: AnswerSpec = replace(standard_spec(PKI, request), **changes)  # type: ignore[arg-type]  # AnswerSpec's fields
        return answer(spec)

    return reply


class Http(CannedPoster):
    """Each responder by its own function; `asked` keeps the order."""

    def __init__(self, **replies: Callable[[bytes], bytes | HttpAnswer | TransportError]) -> None:
        super().__init__(_good)
        self.replies = replies

    def _answer(self, purpose: str, url: str, body: bytes, max_bytes: int) -> HttpAnswer:
        self.reply = self.replies["second" if "second" in url else "first"]
        return super()._answer(purpose, url, body, max_bytes)

    @property
    def asked(self) -> list[str]:
        return [url for _, url, _ in self.posted]


def test_an_issuer_that_has_lists_alone_is_unavailable_here() -> None:
    chain = _chain(
        responders=(),
        order=StatusOrder.CRL_ONLY,
        crl=CrlRules(("http://ca.example/citizen.crl",)),
    )
    http = Http()
    status = client(http).status_of(chain, NOW)
    assert isinstance(status, Unavailable)
    assert isinstance(status.cause, DestinationNotRegistered)
    assert not http.asked


def test_the_first_responder_is_asked_and_no_other() -> None:
    http = Http(first=_good)
    status = client(http).status_of(CHAIN, NOW)
    assert isinstance(status, Good)
    assert status.evidence.responder_url == FIRST
    assert http.asked == [FIRST]


@pytest.mark.parametrize(
    "trouble",
    [
        lambda _: DOWN,
        lambda _: DeadlineExceeded("late"),
        lambda _: HttpAnswer(503, "text/html", b""),
        _saying(response_status="try_later"),
        _saying(response_status="internal_error"),
    ],
)
def test_a_responder_in_trouble_is_asked_twice_then_the_next(
    trouble: Callable[[bytes], bytes | HttpAnswer | TransportError],
) -> None:
    told: list[Attempt] = []
    http = Http(first=trouble, second=_good)
    status = client(http, tell=told.append).status_of(CHAIN, NOW)
    assert isinstance(status, Good)
    assert status.evidence.responder_url == SECOND
    assert http.asked == [FIRST, FIRST, SECOND]
    assert [attempt.source for attempt in told] == [FIRST, FIRST]


@pytest.mark.parametrize(
    "lie",
    [
        lambda _: HttpAnswer(404, "text/html", b""),
        lambda _: b"garbage",
        lambda _: AddressRefused("10.0.0.1 is in a private network"),
        _saying(response_status="unauthorized"),
        _saying(nonce=b"\x01" * 32),
        _saying(spoil_signature=True),
    ],
)
def test_a_responder_that_would_say_the_same_again_is_asked_once(
    lie: Callable[[bytes], bytes | HttpAnswer | TransportError],
) -> None:
    http = Http(first=lie, second=_good)
    assert isinstance(client(http).status_of(CHAIN, NOW), Good)
    assert http.asked == [FIRST, SECOND]


@pytest.mark.parametrize(("said", "status"), [("revoked", Revoked), ("unknown", Unknown)])
def test_what_the_first_responder_says_is_final(said: str, status: type) -> None:
    http = Http(first=_saying(singles=(SingleSpec(status=said),)), second=_good)  # type: ignore[arg-type]  # a Status
    assert isinstance(client(http).status_of(CHAIN, NOW), status)
    assert http.asked == [FIRST]


def test_every_reason_is_named() -> None:
    http = Http(first=lambda _: DOWN, second=_saying(nonce=b"\x01" * 32))
    status = client(http).status_of(CHAIN, NOW)
    assert isinstance(status, Unavailable)
    causes = [(attempt.source, type(attempt.cause)) for attempt in status.attempts]
    assert causes == [
        (FIRST, ConnectionFailed),
        (FIRST, ConnectionFailed),
        (SECOND, NonceMismatch),
    ]
    assert status.cause is status.attempts[-1].cause


def test_attempts_are_the_profiles() -> None:
    http = Http(first=lambda _: DOWN)
    client(http).status_of(_chain(responders=(FIRST,), attempts=4), NOW)
    assert http.asked == [FIRST] * 4


def test_every_attempt_is_a_new_question() -> None:
    requests: list[bytes] = []

    def keep(request: bytes) -> TransportError:
        requests.append(request)
        return DOWN

    client(Http(first=keep, second=keep)).status_of(CHAIN, NOW)
    assert len(set(requests)) == len(requests) == 4


def test_pauses_grow_and_are_scattered() -> None:
    pauses: list[float] = []
    bits = iter([b"\x00\x00", b"\xff\xff", b"\x80\x00"])

    def random_bytes(size: int) -> bytes:
        return next(bits) if size == 2 else b"n" * size

    http = Http(first=lambda _: DOWN)
    asking = client(http, pause=pauses.append, random_bytes=random_bytes, stopwatch=lambda: 0.0)
    asking.status_of(_chain(responders=(FIRST,), attempts=4), NOW)
    assert pauses == pytest.approx([0.05, 0.3, 0.4], rel=0.001)


def test_all_attempts_together_have_one_deadline() -> None:
    elapsed = [0.0]

    def slow(_request: bytes) -> TransportError:
        elapsed[0] += 8.0
        return DeadlineExceeded("late")

    http = Http(first=slow, second=_good)
    status = client(http, stopwatch=lambda: elapsed[0]).status_of(CHAIN, NOW)
    assert isinstance(status, Unavailable)
    assert http.asked == [FIRST, FIRST]
    assert status.attempts[-1].source == SECOND
    assert isinstance(status.cause, DeadlineExceeded)


def test_a_responder_that_keeps_failing_is_left_alone_and_tried_again() -> None:
    breakers = Breakers(BreakerRules(failures=2, first_rest=timedelta(seconds=30)))
    http = Http(first=lambda _: DOWN, second=_good)
    asking = client(http, breakers=breakers, stopwatch=lambda: 0.0)
    for _ in range(2):
        asking.status_of(CHAIN, NOW)
    http.posted.clear()
    asking.status_of(CHAIN, NOW)
    assert http.asked == [SECOND]
    alone = asking.status_of(_chain(responders=(FIRST,)), NOW)
    assert isinstance(alone, Unavailable)
    assert isinstance(alone.cause, ResponderResting)
    assert alone.cause.until == NOW + timedelta(seconds=30)
    http.posted.clear()
    http.replies["first"] = _good
    asking.status_of(CHAIN, NOW + timedelta(seconds=30))
    assert http.asked == [FIRST]


def test_a_rest_begins_when_the_responder_has_failed_and_not_when_the_login_began() -> None:
    elapsed = [0.0]

    def slow(_request: bytes) -> TransportError:
        elapsed[0] += 4.0
        return DeadlineExceeded("late")

    breakers = Breakers(BreakerRules(failures=1, first_rest=timedelta(seconds=1)))
    http = Http(first=slow, second=_good)
    client(http, breakers=breakers, stopwatch=lambda: elapsed[0]).status_of(CHAIN, NOW)
    took = timedelta(seconds=elapsed[0])
    assert took > timedelta(seconds=1)
    just_before = NOW + took + timedelta(seconds=1) - timedelta(microseconds=1)
    assert breakers.rests_until(FIRST, just_before) == NOW + took + timedelta(seconds=1)


def test_a_responder_that_answers_nonsense_is_there() -> None:
    breakers = Breakers(BreakerRules(failures=1))
    http = Http(first=lambda _: b"garbage", second=_good)
    for _ in range(3):
        client(http, breakers=breakers).status_of(CHAIN, NOW)
    assert http.asked == [FIRST, SECOND] * 3


@pytest.mark.parametrize(
    ("at", "error"),
    [
        (PKI.leaf.certificate.not_valid_after_utc + timedelta(seconds=1), CertificateExpired),
        (PKI.leaf.certificate.not_valid_before_utc - timedelta(seconds=1), CertificateNotYetValid),
    ],
)
def test_nobody_is_asked_about_a_certificate_out_of_date(at: object, error: type) -> None:
    http = Http(first=_good)
    with pytest.raises(error):
        client(http).status_of(CHAIN, at)  # type: ignore[arg-type]  # datetimes
    assert http.asked == []


# --- 4: GET or POST ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "asks_by_get"), [(RequestMethod.AUTO, True), (RequestMethod.POST, False)]
)
def test_a_short_question_is_fetched_unless_the_issuer_knows_no_get(
    monkeypatch: pytest.MonkeyPatch, method: RequestMethod, *, asks_by_get: bool
) -> None:
    fetched: list[str] = []

    def get(_self: Http, _purpose: str, url: str, **_named: object) -> HttpAnswer:
        fetched.append(url)
        raise DOWN

    monkeypatch.setattr(Http, "get", get)
    chain = _chain(
        nonce=NonceMode.OFF, certid_hash=CertIdHash.SHA1, method=method, responders=(FIRST,)
    )
    http = Http(first=lambda _: DOWN)
    client(http).status_of(chain, NOW)
    assert bool(fetched) is asks_by_get
    assert bool(http.asked) is not asks_by_get


@pytest.mark.parametrize(("size", "short"), [(3 * 55, True), (3 * 56, False)])
def test_the_whole_url_counts(size: int, *, short: bool) -> None:
    # Base64 of zero bytes needs no escapes: 220 and 224 characters.
    base = "http://ocsp.example/" + "x" * (MAX_GET_URL - 220 - len("http://ocsp.example/") - 1)
    assert (get_url(base, bytes(size)) is not None) is short


def test_base64_is_escaped() -> None:
    assert get_url("http://ocsp.example/a/", b"\xff\xff\xfe\x3e") == (
        "http://ocsp.example/a/%2F%2F%2F%2BPg%3D%3D"
    )


def test_causes_of_several_kinds_are_told_apart() -> None:
    status = client(Http(first=lambda _: HttpAnswer(500, "", b""))).status_of(
        _chain(responders=(FIRST,)), NOW
    )
    assert isinstance(status, Unavailable)
    assert isinstance(status.cause, AnswerHttpWrong)
    assert status.cause.status == 500
    declined = client(Http(first=_saying(response_status="unauthorized"))).status_of(
        _chain(responders=(FIRST,)), NOW
    )
    assert isinstance(declined, Unavailable)
    assert isinstance(declined.cause, ResponderDeclined)
