"""A decision made again from its record, at its own time: every check by name.

Nothing in the record is believed. The path must lead to roots that the auditor brings along, the
card's certificate and the answer are judged by the very code that judged them then, and what the
record states beside them is compared with what comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.cache import KeptAnswer, judge_kept
from ocsp.chain import ValidatedChain, validate_path
from ocsp.checks import IN_ORDER, Check, check_of
from ocsp.config import CacheUse, IssuerProfile, NonceMode, TrustStore
from ocsp.crl.authorities import require_good_authorities
from ocsp.crl.errors import AuthorityStatusUnknown, CrlMissing
from ocsp.crl.judging import MAX_CRLS
from ocsp.crl.reading import read_crl
from ocsp.crl.rules import CrlRules
from ocsp.crl.source import CrlSource, ReadLists
from ocsp.errors import (
    CertificateNotTrusted,
    CertificateRevoked,
    CertificateStatusUnknown,
    CertificateSuspended,
    ConfigurationInvalid,
    CrlRefused,
    KeptTooLong,
    QuestionWrong,
    TrustError,
)
from ocsp.request import OcspQuery, build_query, cert_id_of, nonce_of
from ocsp.responder_authority import DelegateStatus
from ocsp.response import CONTENT_TYPE, judge_answer
from ocsp.status import AnsweredStatus, Good, Revoked, Suspended, Unavailable, Unknown
from ocsp.transport import HttpAnswer


@dataclass(frozen=True, slots=True)
class UnverifiedDecision:
    """What is kept of a decision; nobody vouches for any of it.

    Attributes:
        certificates: DER, the card's first, the root last.
        profile: the rules of the issuer then.
        request_der: our question; None for an answer from the cache, and for lists.
        response_der: the OCSPResponse; empty for lists.
        responder_url: where it came from; of several lists, separated by spaces.
        from_cache: it was had for an earlier question.
        lists: DER of the CRLs; with an answer those by which its signer is good.
        authority_lists: DER of the CRLs by which the CA certificates of the path were good.
        decided_at: aware UTC.
    """

    certificates: tuple[bytes, ...]
    profile: IssuerProfile
    request_der: bytes | None
    response_der: bytes
    responder_url: str
    from_cache: bool
    lists: tuple[bytes, ...]
    authority_lists: tuple[bytes, ...]
    decided_at: datetime


class Outcome(StrEnum):
    """Of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_REACHED = "not reached"
    NOT_MADE = "not made"


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of a decision made again.

    Attributes:
        outcomes: every check that the record allows to be made, and those that its rules leave out.
        not_made: why the rules leave a check out, in their own words; nobody vouches for them.
        chain: the path; None if it is not confirmed.
        status: what the answer says; None if it says nothing that can be believed.
        refusal: why the decision is not made today as it was then; None if it is.
    """

    outcomes: dict[Check, Outcome]
    not_made: dict[Check, str]
    chain: ValidatedChain | None
    status: AnsweredStatus | None
    refusal: TrustError | None


def replay(unverified: UnverifiedDecision, roots: tuple[bytes, ...]) -> Replay:
    """Make the decision again.

    Args:
        unverified: the record.
        roots: DER of the roots that the auditor trusts; never taken from the record.
    """
    not_made = _not_made(unverified.profile)
    try:
        # 1. The path, by the auditor's roots.
        store = _store(unverified, roots)
        chain = _chain(unverified, store)
        _require_good_authorities(unverified, chain, store)
        if unverified.response_der:
            status = _judge_answer(unverified, chain, store)
        else:
            status = _judge_lists(unverified, chain, store)
        _require_good(status)
    except ConfigurationInvalid as wrong:
        # Rules and certificates of the record that no store can be made of.
        refusal = CertificateNotTrusted(f"the record's certificates: {wrong}")
        return Replay(_outcomes(unverified, Check.CHAIN), not_made, None, None, refusal)
    except TrustError as refused:
        return Replay(_outcomes(unverified, check_of(refused)), not_made, None, None, refused)
    return Replay(_outcomes(unverified, None), not_made, chain, status, None)


def _not_made(rules: IssuerProfile) -> dict[Check, str]:
    above = rules.authority_status
    return {} if isinstance(above, CrlRules) else {Check.CA_STATUS: above.reason}


def _order(unverified: UnverifiedDecision) -> tuple[Check, ...]:
    # The CAs before the card, as in a login.
    path = (Check.CHAIN, Check.CA_STATUS)
    if not unverified.response_der:
        return (*path, Check.CRL, Check.STATUS)
    if unverified.from_cache:
        # Its question was another login's; the nonce in it says nothing here.
        made = tuple(check for check in IN_ORDER if check is not Check.NONCE)
        return (*path, Check.CACHE, *made)
    return (*path, Check.REQUEST, Check.CERTID_HASH, *IN_ORDER)


def _outcomes(unverified: UnverifiedDecision, failed: Check | None) -> dict[Check, Outcome]:
    checks = _order(unverified)
    not_made = dict.fromkeys(_not_made(unverified.profile), Outcome.NOT_MADE)
    if failed is None:
        return dict.fromkeys(checks, Outcome.PASSED) | not_made
    position = checks.index(failed) if failed in checks else 0
    found = dict.fromkeys(checks[:position], Outcome.PASSED)
    found[failed] = Outcome.FAILED
    rest = {check: Outcome.NOT_REACHED for check in checks if check not in found}
    return found | rest | not_made


def _require_good_authorities(
    unverified: UnverifiedDecision, chain: ValidatedChain, store: TrustStore
) -> None:
    # 21. By the lists of the CAs above, where the rules do not say that there are none.
    rules = chain.profile.authority_status
    if isinstance(rules, CrlRules):
        try:
            crls = tuple(read_crl(der) for der in unverified.authority_lists[:MAX_CRLS])
        except CrlRefused as e:
            raise AuthorityStatusUnknown(f"a recorded list: {e}") from e
        require_good_authorities(chain, rules, crls, store, unverified.decided_at)


def _judge_answer(
    unverified: UnverifiedDecision, chain: ValidatedChain, store: TrustStore
) -> AnsweredStatus:
    # 10. A delegate that needs lists has them beside the answer.
    urls = () if chain.profile.crl is None else chain.profile.crl.urls
    delegates = CrlSource(_recorded(unverified, urls), store).delegates_of(
        chain, unverified.decided_at
    )
    if unverified.from_cache:
        return _judge_kept(unverified, chain, delegates)
    # 2, 3. The question was put to a responder of the rules, and about this certificate, by the
    #       hash that the rules say.
    if unverified.responder_url not in chain.profile.responders:
        raise QuestionWrong("the rules know no responder at the recorded place")
    query = _query(unverified, chain)
    # 6 to 16, and 18.
    return judge_answer(
        HttpAnswer(200, CONTENT_TYPE, unverified.response_der),
        query=query,
        issuer=chain.path[1],
        profile=chain.profile,
        responder_url=unverified.responder_url,
        at=unverified.decided_at,
        delegate_status=delegates,
    )


def _store(unverified: UnverifiedDecision, roots: tuple[bytes, ...]) -> TrustStore:
    return TrustStore(
        roots=roots,
        intermediates=tuple(der for der in unverified.certificates[1:] if der not in roots),
        issuers=(replace(unverified.profile, anchors=frozenset()),),
    )


def _chain(unverified: UnverifiedDecision, store: TrustStore) -> ValidatedChain:
    if len(unverified.certificates) < 2:
        raise CertificateNotTrusted("the record has no path")
    chain = validate_path(unverified.certificates[0], store, unverified.decided_at)
    found = tuple(c.public_bytes(Encoding.DER) for c in chain.certificates)
    if found != unverified.certificates:
        raise CertificateNotTrusted("the path is another one than the record says")
    return chain


@dataclass(frozen=True, slots=True)
class _RecordedLists:
    """`ocsp.crl.source.ListStore` of what the record has."""

    by_url: dict[str, bytes]

    def current(self, url: str) -> bytes | None:
        """SHA-256 of the recorded list."""
        return sha256(self.by_url[url]).digest() if url in self.by_url else None

    def content(self, digest: bytes, /) -> bytes | None:
        """DER of the recorded list; unverified."""
        return next((der for der in self.by_url.values() if sha256(der).digest() == digest), None)


def _recorded(unverified: UnverifiedDecision, urls: Sequence[str]) -> ReadLists:
    """The lists of the record, as if fetched from these places and those of the CAs above."""
    above = unverified.profile.authority_status
    urls_above = above.urls if isinstance(above, CrlRules) else ()
    by_url = dict(zip(urls_above, unverified.authority_lists, strict=False))
    return ReadLists(_RecordedLists(by_url | dict(zip(urls, unverified.lists, strict=False))))


def _judge_lists(
    unverified: UnverifiedDecision, chain: ValidatedChain, store: TrustStore
) -> AnsweredStatus:
    # 19. By the lists that the decision rested on, from where the rules say that they come.
    urls = unverified.responder_url.split(" ")
    if len(urls) != len(unverified.lists):
        raise CrlMissing("the record names as many places as it has lists, or is none")
    status = CrlSource(_recorded(unverified, urls), store).status_of(chain, unverified.decided_at)
    if isinstance(status, Unavailable):
        raise status.cause
    return status


def _query(unverified: UnverifiedDecision, chain: ValidatedChain) -> OcspQuery:
    profile = chain.profile
    expected = build_query(
        chain.leaf,
        chain.issuer,
        certid_hash=profile.certid_hash,
        nonce=NonceMode.OFF,
        random_bytes=lambda _: b"",
    )
    try:
        request = x509_ocsp.load_der_ocsp_request(unverified.request_der or b"")
        cert_id, nonce = cert_id_of(request), nonce_of(request)
    except (ValueError, TypeError, NotImplementedError) as e:
        raise QuestionWrong("the recorded question is no OCSP request of ours") from e
    if cert_id != expected.cert_id:
        raise QuestionWrong("the recorded question is about another certificate")
    if (nonce is None) is not (profile.nonce is NonceMode.OFF):
        raise QuestionWrong("the recorded question has a nonce, or none, against the rules")
    return replace(expected, der=unverified.request_der or b"", nonce=nonce)


def _judge_kept(
    unverified: UnverifiedDecision, chain: ValidatedChain, delegates: DelegateStatus
) -> AnsweredStatus:
    if chain.profile.cache is CacheUse.OFF:
        raise KeptTooLong("the rules allow no answer from the cache")
    at = unverified.decided_at
    kept = KeptAnswer(
        certificate_sha256=b"",
        certificate_der=unverified.certificates[0],
        response_der=unverified.response_der,
        responder_url=unverified.responder_url,
        this_update=at,
        produced_at=at,
        is_good=True,
        refresh_at=at,
        useless_at=at,
    )
    return judge_kept(kept, chain, at, delegates)


def _require_good(status: AnsweredStatus) -> None:
    match status:
        case Good():
            return
        case Revoked(at, reason):
            raise CertificateRevoked(at, reason)
        case Suspended(since):
            raise CertificateSuspended(since)
        case Unknown(responder):
            raise CertificateStatusUnknown(responder)
