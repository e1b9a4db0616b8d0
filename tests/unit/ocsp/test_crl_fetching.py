"""Lists are fetched when due, only if they changed, and what is no list replaces none."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from ocsp.certificate import read_certificate
from ocsp.crl.errors import CrlMalformed, CrlOutdated, CrlSignatureInvalid
from ocsp.crl.fetching import PURPOSE, ListFetcher
from ocsp.crl.rules import CrlRules
from ocsp.errors import ConnectionFailed, TransportError
from ocsp.transport import HttpAnswer, KnownVersion
from tests.support.certificates import NOW, Issued, development_like_pki, private_key
from tests.support.crls import CrlSpec, make_crl, scope
from tests.support.lists import MemoryLists

URL = "http://ca.example/citizen.crl"
PKI = development_like_pki()
LIST = CrlSpec(issuer=PKI.citizen_ca)
IMPOSTOR = Issued(PKI.citizen_ca.certificate, private_key("impostor"))


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


def fetcher_of(server: Server, lists: MemoryLists) -> ListFetcher:
    """A fetcher that knows the CAs of the PKI."""
    known = tuple(read_certificate(one.der) for one in (PKI.national_ca, PKI.citizen_ca))
    return ListFetcher(server, lists, lambda _rules: known)


def sent(der: bytes, status: int = 200) -> HttpAnswer:
    return HttpAnswer(status, "application/pkix-crl", der, '"1"', "Sun, 15 Nov 2026 11:00:00 GMT")


def test_a_list_is_fetched_when_due_and_only_if_it_changed() -> None:
    der = make_crl(LIST)
    server, lists = Server([sent(der), sent(b"", 304)]), MemoryLists()
    fetcher = fetcher_of(server, lists)
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
        (sent(make_crl(replace(LIST, issuer=IMPOSTOR))), CrlSignatureInvalid),
        (sent(make_crl(CrlSpec(issuer=PKI.root))), CrlSignatureInvalid),
        (sent(make_crl(replace(LIST, this_update=NOW - timedelta(hours=2)))), CrlOutdated),
        (ConnectionFailed("down"), ConnectionFailed),
    ],
)
def test_what_is_no_list_replaces_none(
    answer: HttpAnswer | TransportError, cause: type[Exception]
) -> None:
    lists = MemoryLists()
    lists.put(URL, make_crl(LIST), NOW - timedelta(days=1))
    before = dict(lists.fetched)
    failed = fetcher_of(Server([answer]), lists).fetch_due([ONE], at=NOW)
    assert [type(attempt.cause) for attempt in failed] == [cause]
    assert lists.fetched == before


@pytest.mark.parametrize(
    "there",
    [
        make_crl(replace(LIST, issuer=IMPOSTOR)),  # changed in the store
        b"rubbish",
        make_crl(replace(LIST, this_update=NOW + timedelta(hours=9))),  # dated by mistake
        make_crl(replace(LIST, number=9, delta_base=7)),  # of another kind
        make_crl(replace(LIST, scope=scope(only_contains_user_certs=True))),
    ],
)
def test_what_is_there_keeps_no_good_list_away(there: bytes) -> None:
    lists = MemoryLists()
    lists.put(URL, there, NOW - timedelta(days=1))
    der = make_crl(replace(LIST, this_update=NOW - timedelta(hours=2)))
    assert not fetcher_of(Server([sent(der)]), lists).fetch_due([ONE], at=NOW)
    assert lists.fetched[URL].der == der
