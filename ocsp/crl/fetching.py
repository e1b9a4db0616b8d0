"""Fetching lists ahead of need: conditional, capped, and verified before they replace another."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm

from ocsp.certificate import ReadCertificate
from ocsp.crl.errors import CrlMalformed, CrlOutdated, CrlSignatureInvalid
from ocsp.crl.reading import ReadCrl, read_crl
from ocsp.crl.rules import CrlRules
from ocsp.errors import CrlRefused, TransportError
from ocsp.names import comparable
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

    def current(self, url: str) -> bytes | None:
        """SHA-256 of the list that was fetched last from there, None if none ever was."""

    def content(self, digest: bytes, /) -> bytes | None:
        """DER of a list; unverified, for whoever can write to the store may have changed it."""

    def keep(self, fetched: FetchedList) -> None:
        """This is the list of that place from now on."""

    def unchanged(self, url: str, *, at: datetime) -> None:
        """The list that is there is still the current one."""


@dataclass(frozen=True, slots=True)
class ListFetcher:
    """Fetches what is due.

    Lists travel over plain http: one that cannot be read, that nobody who may be its issuer signed,
    or that is older than the one that is there replaces none. Whether its signer may speak for a
    certificate, and by which algorithm, is the business of whoever uses it.

    Attributes:
        http: with the lists' places registered under PURPOSE.
        store: where the lists are kept.
        signers: certificates of all that may sign the lists of some rules.
    """

    http: Getter
    store: FetchStore
    signers: Callable[[CrlRules], Iterable[ReadCertificate]]

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
        read, signers = read_crl(answer.body), tuple(self.signers(rules))
        if not _is_signed_by_any(read, signers):
            raise CrlSignatureInvalid("not signed by a certificate of the CRL's issuer")
        there = self._there(url, signers)
        if there is not None and _is_older(read, there, at):
            raise CrlOutdated(f"thisUpdate {read.this_update} is before {there.this_update}")
        self.store.keep(FetchedList(url, answer.body, answer.etag, answer.last_modified, at))

    def _there(self, url: str, signers: Iterable[ReadCertificate]) -> ReadCrl | None:
        """The list that is in the store, None if there is none that can be believed."""
        digest = self.store.current(url)
        unverified_der = None if digest is None else self.store.content(digest)
        if unverified_der is None:
            return None
        try:
            read = read_crl(unverified_der)
        except CrlRefused:
            return None
        return read if _is_signed_by_any(read, signers) else None


def _is_signed_by_any(crl: ReadCrl, signers: Iterable[ReadCertificate]) -> bool:
    named = (one for one in signers if comparable(one.certificate.subject) == crl.issuer)
    return any(_is_signed_by(crl, signer) for signer in named)


def _is_signed_by(crl: ReadCrl, signer: ReadCertificate) -> bool:
    try:
        return crl.crl.is_signature_valid(signer.public_key)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The algorithm is for another type of key, or unknown.
        return False


def _is_older(crl: ReadCrl, there: ReadCrl, at: datetime) -> bool:
    def kind(one: ReadCrl) -> tuple[object, ...]:
        return one.issuer, one.scope, one.is_delta

    # One that its issuer dated into the future by mistake is of no use, and keeps no other away.
    return kind(crl) == kind(there) and crl.this_update < there.this_update <= at
