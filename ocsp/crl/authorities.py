"""The status of the CA certificates of a path (check 21), before that of the user's."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ocsp.chain import ValidatedChain
from ocsp.config import TrustStore
from ocsp.crl.judging import CrlFreshness, CrlSet, judge_by_crls
from ocsp.crl.reading import ReadCrl
from ocsp.crl.rules import CrlRules
from ocsp.crl.source import ReadLists, find_signers_path, signers_of
from ocsp.errors import AuthorityRevoked, CrlRefused
from ocsp.path_building import Path
from ocsp.status import Attempt, CertificateStatus, Unavailable
from ocsp.trust import StatusSource

KEPT_FOR = timedelta(seconds=60)
"""How long a judgement about the same CAs by the same lists is not made again."""

MAX_KEPT = 64
"""Judgements kept."""


@dataclass(frozen=True, slots=True)
class CheckedAuthorities:
    """`ocsp.trust.StatusSource`: another source, asked only about paths whose CAs are all good.

    Every CA certificate below the root must be covered by a list; none may be listed, on hold
    included. The root's own status nobody can state.

    Attributes:
        inner: says the status of the user's certificate.
        lists: the fetched lists.
        trust_store: finds the paths of signers other than the issuers.
        rules: where the lists of superior CAs are.
    """

    inner: StatusSource
    lists: ReadLists
    trust_store: TrustStore
    rules: CrlRules
    _judged: dict[tuple[bytes, ...], datetime] = field(default_factory=dict, repr=False)

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """As the source inside.

        Raises:
            AuthorityRevoked: a CA of the path is revoked or on hold.
        """
        attempts: list[Attempt] = []
        found: list[ReadCrl] = []
        for url in self.rules.urls:
            try:
                found.append(self.lists.list_of(url))
            except CrlRefused as e:
                attempts.append(Attempt(url, e))
        try:
            self._require_good(chain, found, at)
        except CrlRefused as e:
            attempts.append(Attempt(" ".join(self.rules.urls), e))
            return Unavailable(e, tuple(attempts))
        return self.inner.status_of(chain, at)

    def _require_good(self, chain: ValidatedChain, found: list[ReadCrl], at: datetime) -> None:
        authorities = chain.path[1:]
        key = (*(member.der for member in authorities), *(crl.der for crl in found))
        judged_at = self._judged.get(key)
        if judged_at is not None and timedelta(0) <= at - judged_at < KEPT_FOR:
            return
        crls = CrlSet(
            crls=tuple(found),
            signers=signers_of(self.trust_store, self.rules),
            find_path=find_signers_path(self.trust_store),
            freshness=CrlFreshness(
                chain.profile.skew, self.rules.max_age, chain.profile.answer_hashes
            ),
            checks_signers=True,
        )
        for index in range(len(authorities) - 1):
            _require_unlisted(authorities[index:], crls, at)
        if len(self._judged) >= MAX_KEPT:
            self._judged.clear()
        self._judged[key] = at


def _require_unlisted(path: Path, crls: CrlSet, at: datetime) -> None:
    entry = judge_by_crls(path, crls, at).entry
    if entry is not None:
        name = path[0].certificate.subject.rfc4514_string()
        raise AuthorityRevoked(name, entry.revoked_at)
