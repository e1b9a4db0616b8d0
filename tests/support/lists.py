"""Fetched lists in memory, with the rules of the real store; chains and sources over them."""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from ocsp.crl.fetching import FetchedList
from ocsp.transport import KnownVersion


@dataclass
class MemoryLists:
    """`ocsp.crl.source.ListStore` and `ocsp.crl.fetching.FetchStore`."""

    fetched: dict[str, FetchedList] = field(default_factory=dict)
    read: list[bytes] = field(default_factory=list)

    def put(self, url: str, der: bytes, at: datetime) -> None:
        self.fetched[url] = FetchedList(url, der, "", "", at)

    def current(self, url: str) -> bytes | None:
        return self.fetched[url].sha256 if url in self.fetched else None

    def content(self, digest: bytes, /) -> bytes | None:
        self.read.append(digest)
        found = [f.der for f in self.fetched.values() if sha256(f.der).digest() == digest]
        return found[0] if found else None

    def known(self, url: str) -> tuple[KnownVersion, datetime] | None:
        if url not in self.fetched:
            return None
        there = self.fetched[url]
        return KnownVersion(there.etag, there.last_modified), there.fetched_at

    def keep(self, fetched: FetchedList) -> None:
        self.fetched[fetched.url] = fetched

    def unchanged(self, url: str, *, at: datetime) -> None:
        there = self.fetched[url]
        self.fetched[url] = FetchedList(url, there.der, there.etag, there.last_modified, at)
