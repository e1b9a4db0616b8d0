"""Fetching lists ahead of need: conditional, capped, and verified before they replace another."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from ocsp.crl.errors import CrlMalformed
from ocsp.crl.reading import read_crl
from ocsp.crl.rules import CrlRules
from ocsp.errors import CrlRefused, TransportError
from ocsp.status import Attempt
from ocsp.transport import Getter, KnownVersion

PURPOSE = "crl"
"""Under which the lists' places are registered with the egress."""

_ACCEPT = "application/pkix-crl"


@dataclass(frozen=True, slots=True)
class FetchedList:
    """One list as the store has it.

    Attributes:
        url: where it came from.
        der: the list.
        etag: for the next request; "" if there was none.
        last_modified: likewise.
        fetched_at: when the server last said that it is the current one, aware UTC.
    """

    url: str
    der: bytes = field(repr=False)
    etag: str
    last_modified: str
    fetched_at: datetime

    @property
    def sha256(self) -> bytes:
        """Of the DER, 32 bytes."""
        return sha256(self.der).digest()


class FetchStore(Protocol):
    """What fetching needs of the store."""

    def known(self, url: str) -> tuple[KnownVersion, datetime] | None:
        """What is there from that place, and when it was fetched."""

    def keep(self, fetched: FetchedList) -> None:
        """This is the list of that place from now on."""

    def unchanged(self, url: str, *, at: datetime) -> None:
        """The list that is there is still the current one."""


@dataclass(frozen=True, slots=True)
class ListFetcher:
    """Fetches what is due.

    A list that cannot be read replaces none. Its signature is the business of whoever uses it: who
    may sign it depends on the certificate that is asked about.

    Attributes:
        http: with the lists' places registered under PURPOSE.
        store: where the lists are kept.
    """

    http: Getter
    store: FetchStore

    def fetch_due(self, all_rules: Iterable[CrlRules], *, at: datetime) -> list[Attempt]:
        """Fetch each list whose pause is over; returns those that failed."""
        failed: list[Attempt] = []
        for rules in all_rules:
            for url in rules.urls:
                known = self.store.known(url)
                if known is not None and at - known[1] < rules.refresh:
                    continue
                try:
                    self._fetch(url, rules, None if known is None else known[0], at)
                except (CrlRefused, TransportError) as e:
                    failed.append(Attempt(url, e))
        return failed

    def _fetch(self, url: str, rules: CrlRules, known: KnownVersion | None, at: datetime) -> None:
        answer = self.http.get(
            PURPOSE,
            url,
            accept=_ACCEPT,
            max_bytes=rules.max_bytes,
            timeout=rules.timeout,
            known=known,
        )
        if answer.status == 304:
            self.store.unchanged(url, at=at)
            return
        if answer.status != 200:
            raise CrlMalformed(f"HTTP status {answer.status}")
        # Many servers send lists under other media types; what counts is what is inside.
        read_crl(answer.body)
        self.store.keep(FetchedList(url, answer.body, answer.etag, answer.last_modified, at))
