"""Status by the lists that the worker fetched: nobody waits for a download while signing in."""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography import x509

from ocsp.certificate import ReadCertificate, check_validity, read_certificate
from ocsp.chain import ValidatedChain
from ocsp.config import IssuerProfile, TrustStore
from ocsp.crl.errors import CrlMissing
from ocsp.crl.judging import CrlFinding, CrlFreshness, CrlSet, PathFinder, judge_by_crls
from ocsp.crl.reading import ReadCrl, read_crl
from ocsp.crl.rules import CrlRules
from ocsp.errors import CrlRefused, DelegateRevoked, DelegateStatusUnknown, PathMember
from ocsp.known_issuers import ANY_POLICY
from ocsp.path_building import Path
from ocsp.path_judging import PolicyInputs
from ocsp.responder_authority import DelegateStatus
from ocsp.status import (
    AnsweredStatus,
    Attempt,
    CertificateStatus,
    CrlEvidence,
    Good,
    Revoked,
    Suspended,
    Unavailable,
)


class ListStore(Protocol):
    """Where fetched lists are kept for all processes; each call is one transaction."""

    def current(self, url: str) -> bytes | None:
        """SHA-256 of the list that was fetched last from there, None if none ever was."""

    def content(self, digest: bytes, /) -> bytes | None:
        """DER of a list; unverified, for whoever can write to the store may have changed it."""


@dataclass(frozen=True, slots=True)
class ReadLists:
    """The fetched lists, each read once by each process.

    Attributes:
        store: where they are.
    """

    store: ListStore
    _read: dict[str, tuple[bytes, ReadCrl]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def list_of(self, url: str) -> ReadCrl:
        """The list that was fetched last.

        Raises:
            CrlMissing: none was.
            CrlRefused: it cannot be read.
        """
        digest = self.store.current(url)
        if digest is None:
            raise CrlMissing(f"no list was fetched from {url} yet")
        # A list of megabytes takes a second to read: one thread does, the others wait for it.
        with self._lock:
            kept = self._read.get(url)
            if kept is not None and kept[0] == digest:
                return kept[1]
            unverified_der = self.store.content(digest)
            if unverified_der is None:
                raise CrlMissing(f"the list from {url} is not in the store")
            read = read_crl(unverified_der)
            self._read[url] = (digest, read)
            return read


@dataclass(frozen=True, slots=True)
class CrlSource:
    """`ocsp.trust.StatusSource`: the issuer's lists.

    Attributes:
        lists: the fetched ones.
        trust_store: finds the paths of signers other than the issuer; the lists of the CAs above
            the issuer cover them.
    """

    lists: ReadLists
    trust_store: TrustStore

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """What the lists of the issuer's profile say about the chain's leaf."""
        check_validity(chain.leaf, PathMember.USER, at)
        return self._status_of(chain.path, chain.profile, at)

    def delegates_of(self, chain: ValidatedChain, at: datetime) -> DelegateStatus:
        """`ocsp.trust.DelegatesOf`: delegates of the chain's issuer, by the same lists."""

        def check(delegate: ReadCertificate) -> tuple[bytes, ...]:
            status = self._status_of((delegate, *chain.path[1:]), chain.profile, at)
            match status:
                case Good(evidence):
                    return evidence.lists
                case Unavailable(cause):
                    raise DelegateStatusUnknown(f"the delegate's own status: {cause}") from cause
                case _:
                    raise DelegateRevoked("the delegate is revoked or on hold")

        return check

    def _status_of(self, path: Path, profile: IssuerProfile, at: datetime) -> CertificateStatus:
        rules = profile.crl
        if rules is None:
            missing = CrlMissing(f"{profile.name} has no lists")
            return Unavailable(missing, (Attempt("crl", missing),))
        attempts: list[Attempt] = []
        found: dict[str, ReadCrl] = {}
        above = profile.authority_status
        urls_above = above.urls if isinstance(above, CrlRules) else ()
        for url in (*rules.urls, *urls_above):
            try:
                found[url] = self.lists.list_of(url)
            except CrlRefused as e:
                attempts.append(Attempt(url, e))
        crls = CrlSet(
            crls=tuple(found.values()),
            signers=signers_of(self.trust_store, rules),
            find_path=find_signers_path(self.trust_store),
            freshness=CrlFreshness(profile.skew, rules.max_age, profile.answer_hashes),
            checks_signers=isinstance(above, CrlRules),
        )
        try:
            return _status(judge_by_crls(path, crls, at), found)
        except CrlRefused as e:
            attempts.append(Attempt(" ".join(found) or rules.urls[0], e))
            return Unavailable(e, tuple(attempts))


def signers_of(trust_store: TrustStore, rules: CrlRules) -> tuple[ReadCertificate, ...]:
    """Who may have signed a list, besides the CAs of the path: other CAs, and the named ones."""
    named = (read_certificate(der) for der in rules.signers)
    return (*named, *trust_store.read_intermediates, *trust_store.read_roots)


def find_signers_path(trust_store: TrustStore) -> PathFinder:
    """Validates the paths of CRL signers: to a root of the store, for whatever policy."""
    anything = PolicyInputs(frozenset({ANY_POLICY}), explicit=False)

    def find(signer: ReadCertificate, at: datetime) -> Path:
        return trust_store.engine.find_in_full(signer, anything, at, purposes=frozenset())

    return find


def _status(finding: CrlFinding, found: dict[str, ReadCrl]) -> AnsweredStatus:
    url_of = {id(crl): url for url, crl in found.items()}
    evidence = CrlEvidence(
        lists=tuple(crl.der for crl in finding.used),
        signer_name=finding.signer_name,
        urls=tuple(url_of[id(crl)] for crl in finding.used),
        this_update=min(crl.this_update for crl in finding.used),
        next_update=min(crl.next_update for crl in finding.used),
    )
    entry = finding.entry
    if entry is None:
        return Good(evidence)
    if entry.reason is x509.ReasonFlags.certificate_hold:
        return Suspended(entry.revoked_at, evidence)
    reason = None if entry.reason is None else str(entry.reason.value)
    return Revoked(entry.revoked_at, reason, evidence)
