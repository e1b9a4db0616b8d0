"""The status of the CA certificates of a path (check 21), before that of the user's."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from ocsp.chain import ValidatedChain
from ocsp.config import TrustStore
from ocsp.crl.errors import AuthorityStatusUnknown
from ocsp.crl.judging import CrlFreshness, CrlSet, judge_by_crls
from ocsp.crl.reading import ReadCrl
from ocsp.crl.rules import AuthorityStatusUnpublished, CrlRules
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
    included. The root's own status nobody can state. Nothing is looked up only where the issuer's
    profile says why there is nothing.

    Attributes:
        inner: says the status of the user's certificate.
        lists: the fetched lists.
        trust_store: finds the paths of signers other than the issuers.
    """

    inner: StatusSource
    lists: ReadLists
    trust_store: TrustStore
    _judged: dict[tuple[bytes, ...], datetime] = field(default_factory=dict, repr=False)

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        """As the source inside, the lists of the CAs above added to its evidence.

        Raises:
            AuthorityRevoked: a CA of the path is revoked or on hold.
        """
        match chain.profile.authority_status:
            case AuthorityStatusUnpublished():
                return self.inner.status_of(chain, at)
            case CrlRules() as rules:
                return self._after_authorities(chain, rules, at)

    def _after_authorities(
        self, chain: ValidatedChain, rules: CrlRules, at: datetime
    ) -> CertificateStatus:
        attempts: list[Attempt] = []
        found: list[ReadCrl] = []
        for url in rules.urls:
            try:
                found.append(self.lists.list_of(url))
            except CrlRefused as e:
                attempts.append(Attempt(url, e))
        try:
            self._require_good(chain, rules, found, at)
        except AuthorityStatusUnknown as e:
            attempts.append(Attempt(" ".join(rules.urls), e))
            return Unavailable(e, tuple(attempts))
        status = self.inner.status_of(chain, at)
        if isinstance(status, Unavailable):
            return status
        lists = tuple(crl.der for crl in found)
        return replace(status, evidence=replace(status.evidence, authority_lists=lists))

    def _require_good(
        self, chain: ValidatedChain, rules: CrlRules, found: list[ReadCrl], at: datetime
    ) -> None:
        authorities = chain.path[1:]
        key = (*(member.der for member in authorities), *(crl.der for crl in found))
        judged_at = self._judged.get(key)
        if judged_at is not None and timedelta(0) <= at - judged_at < KEPT_FOR:
            return
        require_good_authorities(chain, rules, tuple(found), self.trust_store, at)
        if len(self._judged) >= MAX_KEPT:
            self._judged.clear()
        self._judged[key] = at


def require_good_authorities(
    chain: ValidatedChain,
    rules: CrlRules,
    crls: tuple[ReadCrl, ...],
    trust_store: TrustStore,
    at: datetime,
) -> None:
    """Every CA certificate of a path below the root is covered by a list, and on none.

    Args:
        chain: the path.
        rules: how old the lists may be, and who may have signed them.
        crls: the lists at hand.
        trust_store: finds the paths of signers other than the issuers.
        at: the time of the check, in UTC.

    Raises:
        AuthorityRevoked: a CA is revoked or on hold.
        AuthorityStatusUnknown: no list speaks for one.
    """
    at_hand = CrlSet(
        crls=crls,
        signers=signers_of(trust_store, rules),
        find_path=find_signers_path(trust_store),
        freshness=CrlFreshness(chain.profile.skew, rules.max_age, chain.profile.answer_hashes),
        checks_signers=True,
    )
    authorities = chain.path[1:]
    for index in range(len(authorities) - 1):
        _require_unlisted(authorities[index:], at_hand, at)


def _require_unlisted(path: Path, crls: CrlSet, at: datetime) -> None:
    name = path[0].certificate.subject.rfc4514_string()
    try:
        entry = judge_by_crls(path, crls, at).entry
    except CrlRefused as e:
        raise AuthorityStatusUnknown(f"{name}: {e}") from e
    if entry is not None:
        raise AuthorityRevoked(name, entry.revoked_at)
