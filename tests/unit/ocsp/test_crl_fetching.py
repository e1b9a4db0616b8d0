"""Lists are fetched when due, only if they changed, and what is no list replaces none."""

from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from ocsp.crl.errors import CrlMalformed
from ocsp.crl.fetching import PURPOSE, ListFetcher
from ocsp.crl.rules import CrlRules
from ocsp.errors import ConnectionFailed, TransportError
from ocsp.transport import HttpAnswer, KnownVersion
from tests.support.certificates import NOW, development_like_pki
from tests.support.crls import CrlSpec, make_crl
from tests.support.lists import MemoryLists

URL = "http://ca.example/citizen.crl"
LIST = CrlSpec(issuer=development_like_pki().citizen_ca)


@dataclass
class Server:
    """A `Getter` that answers in order and keeps what it was asked."""

    answers: list[HttpAnswer | TransportError]
    asked: list[tuple[str, str, int, KnownVersion | None]] = field(default_factory=list)

    def get(
        self,
        purpose: str,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
        known: KnownVersion | None = None,
    ) -> HttpAnswer:
        self.asked.append((purpose, url, max_bytes, known))
        answer = self.answers.pop(0)
        if isinstance(answer, TransportError):
            raise answer
        return answer


ONE = CrlRules((URL,))


def sent(der: bytes, status: int = 200) -> HttpAnswer:
    return HttpAnswer(status, "application/pkix-crl", der, '"1"', "Sun, 15 Nov 2026 11:00:00 GMT")


def test_a_list_is_fetched_when_due_and_only_if_it_changed() -> None:
    der = make_crl(LIST)
    server, lists = Server([sent(der), sent(b"", 304)]), MemoryLists()
    fetcher = ListFetcher(server, lists)
    assert not fetcher.fetch_due([ONE], at=NOW)
    assert not fetcher.fetch_due([ONE], at=NOW + ONE.refresh / 2)
    assert len(server.asked) == 1
    later = NOW + ONE.refresh
    assert not fetcher.fetch_due([ONE], at=later)
    assert server.asked[1] == (
        PURPOSE,
        URL,
        ONE.max_bytes,
        KnownVersion('"1"', "Sun, 15 Nov 2026 11:00:00 GMT"),
    )
    assert lists.fetched[URL].der == der
    assert lists.fetched[URL].fetched_at == later


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (sent(b"<html>"), CrlMalformed),
        (sent(b"", 404), CrlMalformed),
        (ConnectionFailed("down"), ConnectionFailed),
    ],
)
def test_what_is_no_list_replaces_none(
    answer: HttpAnswer | TransportError, cause: type[Exception]
) -> None:
    lists = MemoryLists()
    lists.put(URL, make_crl(LIST), NOW - timedelta(days=1))
    before = dict(lists.fetched)
    failed = ListFetcher(Server([answer]), lists).fetch_due([ONE], at=NOW)
    assert [type(attempt.cause) for attempt in failed] == [cause]
    assert lists.fetched == before
