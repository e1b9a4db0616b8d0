"""Status by lists: where they are missing, stale or say no; the order; the CAs."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from ocsp.chain import ValidatedChain, validate_path
from ocsp.config import TrustStore
from ocsp.crl.authorities import KEPT_FOR, CheckedAuthorities
from ocsp.crl.errors import (
    CrlMissing,
    CrlSignatureInvalid,
    CrlSignerNotAuthorised,
    CrlStale,
)
from ocsp.crl.rules import AuthorityStatusUnpublished, CrlRules, StatusOrder
from ocsp.crl.source import CrlSource, ReadLists
from ocsp.errors import (
    AuthorityRevoked,
    CertificateStatusUnavailable,
    CertificateSuspended,
    ConfigurationInvalid,
    ConnectionFailed,
)
from ocsp.responder.crl_issuing import (
    CrlIssuer,
    CrlTimes,
    Removed,
    complete_crl,
    delta_crl,
)
from ocsp.responder.statuses import IssuedSuspended
from ocsp.status import (
    Attempt,
    CertificateStatus,
    CrlEvidence,
    Good,
    Revoked,
    Suspended,
    Unavailable,
    Unknown,
)
from ocsp.status_order import StatusByOrder
from ocsp.trust import establish_trust
from tests.support.certificates import (
    NOW,
    development_like_pki,
    issue,
    lists_spec,
)
from tests.support.crls import CrlSpec, EntrySpec, make_crl
from tests.support.lists import MemoryLists
from tests.support.trust import trust_store

PKI = development_like_pki()
URL, DELTA_URL = "http://ca.example/citizen.crl", "http://ca.example/citizen-delta.crl"
ROOT_URL, NATIONAL_URL = "http://ca.example/root.crl", "http://ca.example/national.crl"
RULES = CrlRules((URL, DELTA_URL))
ABOVE = CrlRules((ROOT_URL, NATIONAL_URL))
SERIAL = PKI.leaf.certificate.serial_number
LIST = CrlSpec(issuer=PKI.citizen_ca)
HOLD = x509.ReasonFlags.certificate_hold


def store_of(order: StatusOrder = StatusOrder.CRL_ONLY) -> TrustStore:
    changes: dict[str, object] = {"order": order, "crl": RULES if order.reads_lists else None}
    if not order.asks_responders:
        changes["responders"] = ()
    return trust_store(PKI, **changes)


def chain_of(order: StatusOrder = StatusOrder.CRL_ONLY) -> ValidatedChain:
    return validate_path(PKI.leaf.der, store_of(order), NOW)


def holding(*specs: CrlSpec) -> MemoryLists:
    lists = MemoryLists()
    for url, spec in zip((URL, DELTA_URL), specs, strict=False):
        lists.put(url, make_crl(spec), NOW)
    return lists


def status(lists: MemoryLists) -> CertificateStatus:
    return CrlSource(ReadLists(lists), store_of()).status_of(chain_of(), NOW)


def test_lists_that_were_never_fetched_leave_the_status_unavailable() -> None:
    found = status(MemoryLists())
    assert isinstance(found, Unavailable)
    assert isinstance(found.cause, CrlMissing)
    assert [attempt.source for attempt in found.attempts] == [URL, DELTA_URL, URL]


def test_a_stale_list_leaves_the_status_unavailable() -> None:
    found = status(holding(replace(LIST, next_update=NOW - timedelta(minutes=6))))
    assert isinstance(found, Unavailable)
    assert isinstance(found.cause, CrlStale)


def test_a_list_that_was_changed_in_the_store_says_nothing() -> None:
    lists = holding(LIST)
    spoilt = lists.fetched[URL].der[:-1] + b"\x00"
    lists.put(URL, spoilt, NOW)
    assert isinstance(status(lists), Unavailable)


def test_revoked_and_suspended_are_told_apart() -> None:
    entry = EntrySpec(SERIAL, x509.ReasonFlags.superseded)
    revoked = status(holding(replace(LIST, entries=(entry,))))
    assert isinstance(revoked, Revoked)
    assert (revoked.at, revoked.reason) == (entry.revoked_at, "superseded")
    suspended = status(holding(replace(LIST, entries=(EntrySpec(SERIAL, HOLD),))))
    assert isinstance(suspended, Suspended)
    assert suspended.since == entry.revoked_at


def test_a_delta_restores_the_certificate() -> None:
    removed = EntrySpec(SERIAL, x509.ReasonFlags.remove_from_crl)
    delta = replace(LIST, number=8, delta_base=7, entries=(removed,))
    found = status(holding(replace(LIST, entries=(EntrySpec(SERIAL, HOLD),)), delta))
    assert isinstance(found, Good)
    assert isinstance(found.evidence, CrlEvidence)
    assert found.evidence.urls == (URL, DELTA_URL)


def test_a_good_certificate_is_trusted_with_the_list_as_evidence() -> None:
    lists = holding(LIST)
    source = CrlSource(ReadLists(lists), store_of())
    trusted = establish_trust(chain_of(), source=source, at=NOW)
    evidence = trusted.evidence
    assert evidence.lists == (lists.fetched[URL].der,)
    assert (evidence.this_update, evidence.next_update) == (LIST.this_update, LIST.next_update)
    assert evidence.responder_name == PKI.citizen_ca.certificate.subject.rfc4514_string()
    assert evidence.from_cache
    assert (evidence.request_der, evidence.response_der) == (None, b"")
    source.status_of(chain_of(), NOW)
    assert len(lists.read) == 1, "a list is read once by each process"


def test_a_held_certificate_is_refused() -> None:
    source = CrlSource(
        ReadLists(holding(replace(LIST, entries=(EntrySpec(SERIAL, HOLD),)))), store_of()
    )
    with pytest.raises(CertificateSuspended):
        establish_trust(chain_of(), source=source, at=NOW)


SIGNER = issue(lists_spec(PKI.citizen_ca, PKI.national_ca))
PUBLISHER = CrlIssuer(PKI.citizen_ca.certificate, SIGNER.certificate, SIGNER.key)


def published(listed: dict[int, IssuedSuspended], number: int, *, delta: bool) -> bytes:
    """A list of our own publisher, signed by a key that is not the CA's."""
    times = CrlTimes(number, NOW - timedelta(minutes=1), NOW + timedelta(days=1))
    if delta:
        removed = {serial: Removed(NOW - timedelta(hours=1)) for serial in listed}
        return delta_crl(PUBLISHER, removed, times, base_number=number - 1)
    return complete_crl(PUBLISHER, listed, times, delta_url=DELTA_URL)


def test_our_own_lists_are_believed_where_their_signer_is_named() -> None:
    named = trust_store(
        PKI,
        order=StatusOrder.CRL_ONLY,
        responders=(),
        crl=replace(RULES, signers=(SIGNER.der,)),
    )
    chain = validate_path(PKI.leaf.der, named, NOW)
    lists = MemoryLists()
    lists.put(URL, published({SERIAL: IssuedSuspended(NOW)}, 7, delta=False), NOW)
    source = CrlSource(ReadLists(lists), named)
    assert isinstance(source.status_of(chain, NOW), Suspended)
    lists.put(DELTA_URL, published({SERIAL: IssuedSuspended(NOW)}, 8, delta=True), NOW)
    assert isinstance(source.status_of(chain, NOW), Good)
    nameless = CrlSource(ReadLists(lists), store_of()).status_of(chain_of(), NOW)
    assert isinstance(nameless, Unavailable)
    assert isinstance(nameless.cause, CrlSignatureInvalid)


def test_a_named_signer_must_be_covered_where_the_authorities_have_lists() -> None:
    named = trust_store(
        PKI,
        order=StatusOrder.CRL_ONLY,
        responders=(),
        crl=replace(RULES, signers=(SIGNER.der,)),
        authority_status=ABOVE,
    )
    chain = validate_path(PKI.leaf.der, named, NOW)
    lists = above(root=OF_ROOT, national=OF_NATIONAL)
    lists.put(URL, published({}, 7, delta=False), NOW)
    source = CrlSource(ReadLists(lists), named)
    assert isinstance(source.status_of(chain, NOW), Good)
    entry = EntrySpec(SIGNER.certificate.serial_number)
    lists.put(NATIONAL_URL, make_crl(replace(OF_NATIONAL, entries=(entry,))), NOW)
    refused = source.status_of(chain, NOW)
    assert isinstance(refused, Unavailable)
    assert isinstance(refused.cause, CrlSignerNotAuthorised)


@dataclass
class Saying:
    """A `StatusSource` that says what it is told to."""

    said: CertificateStatus
    asked: int = 0

    def status_of(self, chain: ValidatedChain, at: datetime) -> CertificateStatus:
        self.asked += 1
        return self.said


EVIDENCE = CrlEvidence((b"x",), "CN=x", (URL,), NOW, NOW)
NOBODY = Unavailable(ConnectionFailed("down"), (Attempt("somewhere", ConnectionFailed("down")),))


@pytest.mark.parametrize(
    ("order", "responders", "lists", "asked"),
    [
        (StatusOrder.OCSP, Good(EVIDENCE), NOBODY, (1, 0)),
        (StatusOrder.CRL_ONLY, NOBODY, Good(EVIDENCE), (0, 1)),
        (StatusOrder.OCSP_THEN_CRL, NOBODY, Good(EVIDENCE), (1, 1)),
        (StatusOrder.OCSP_THEN_CRL, Unknown("x", EVIDENCE), Good(EVIDENCE), (1, 0)),
        (StatusOrder.CRL_THEN_OCSP, NOBODY, Good(EVIDENCE), (0, 1)),
        (StatusOrder.CRL_THEN_OCSP, Good(EVIDENCE), NOBODY, (1, 1)),
    ],
)
def test_the_second_is_asked_only_if_the_first_says_nothing(
    order: StatusOrder,
    responders: CertificateStatus,
    lists: CertificateStatus,
    asked: tuple[int, int],
) -> None:
    first, second = Saying(responders), Saying(lists)
    found = StatusByOrder(first, second).status_of(chain_of(order), NOW)
    assert (first.asked, second.asked) == asked
    assert not isinstance(found, Unavailable)


def test_where_nobody_says_anything_every_attempt_is_told() -> None:
    source = StatusByOrder(Saying(NOBODY), Saying(NOBODY))
    with pytest.raises(CertificateStatusUnavailable, match=r"somewhere.*; somewhere"):
        establish_trust(chain_of(StatusOrder.OCSP_THEN_CRL), source=source, at=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"order": StatusOrder.CRL_ONLY},
        {"order": StatusOrder.CRL_ONLY, "crl": RULES},
        {"order": StatusOrder.OCSP_THEN_CRL},
        {"order": StatusOrder.OCSP, "crl": RULES},
        {"responders": ()},
    ],
)
def test_an_order_without_its_sources_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationInvalid, match="order"):
        trust_store(PKI, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"signers": (b"x",)},
        {"urls": ()},
        {"urls": ("ftp://x/y",)},
        {"urls": (URL, URL)},
        {"max_bytes": 0},
    ],
)
def test_rules_without_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationInvalid):
        replace(RULES, **changes)  # type: ignore[arg-type]  # names and types are CrlRules'


def authorities(lists: MemoryLists, inner: Saying) -> CheckedAuthorities:
    return CheckedAuthorities(inner, ReadLists(lists), trust_store(PKI, authority_status=ABOVE))


def chain_below(rules: CrlRules | AuthorityStatusUnpublished = ABOVE) -> ValidatedChain:
    """The citizen's chain, by a profile that says this of the CAs above."""
    return validate_path(PKI.leaf.der, trust_store(PKI, authority_status=rules), NOW)


def above(*, root: CrlSpec, national: CrlSpec) -> MemoryLists:
    lists = MemoryLists()
    lists.put(ROOT_URL, make_crl(root), NOW)
    lists.put(NATIONAL_URL, make_crl(national), NOW)
    return lists


OF_ROOT, OF_NATIONAL = CrlSpec(issuer=PKI.root), CrlSpec(issuer=PKI.national_ca)


def test_without_lists_of_the_authorities_the_status_is_unavailable() -> None:
    inner = Saying(Good(EVIDENCE))
    only_root = MemoryLists()
    only_root.put(ROOT_URL, make_crl(OF_ROOT), NOW)
    assert isinstance(authorities(only_root, inner).status_of(chain_below(), NOW), Unavailable)
    assert inner.asked == 0


@pytest.mark.parametrize("reason", [x509.ReasonFlags.ca_compromise, HOLD])
def test_a_revoked_authority_is_refused_and_nobody_is_asked(reason: x509.ReasonFlags) -> None:
    inner = Saying(Good(EVIDENCE))
    for issuer, revoked in ((PKI.root, PKI.national_ca), (PKI.national_ca, PKI.citizen_ca)):
        entry = EntrySpec(revoked.certificate.serial_number, reason)
        specs = {"root": OF_ROOT, "national": OF_NATIONAL}
        which = "root" if issuer is PKI.root else "national"
        specs[which] = replace(specs[which], entries=(entry,))
        with pytest.raises(AuthorityRevoked) as caught:
            authorities(above(**specs), inner).status_of(chain_below(), NOW)
        assert caught.value.name == revoked.certificate.subject.rfc4514_string()
    assert inner.asked == 0


def test_only_a_profile_that_says_why_has_its_authorities_unchecked() -> None:
    inner = Saying(Good(EVIDENCE))
    chain = chain_below(AuthorityStatusUnpublished("these CAs publish no lists"))
    found = authorities(MemoryLists(), inner).status_of(chain, NOW)
    assert found == Good(EVIDENCE)
    for reason in ("", " "):
        with pytest.raises(ConfigurationInvalid):
            AuthorityStatusUnpublished(reason)


def test_the_lists_of_the_authorities_are_evidence() -> None:
    lists = above(root=OF_ROOT, national=OF_NATIONAL)
    found = authorities(lists, Saying(Good(EVIDENCE))).status_of(chain_below(), NOW)
    assert isinstance(found, Good)
    kept = (lists.fetched[ROOT_URL].der, lists.fetched[NATIONAL_URL].der)
    assert found.evidence == replace(EVIDENCE, authority_lists=kept)


def test_good_authorities_are_judged_once_a_minute() -> None:
    inner = Saying(Good(EVIDENCE))
    lists = above(root=OF_ROOT, national=replace(OF_NATIONAL, next_update=NOW + KEPT_FOR))
    source = authorities(lists, inner)
    chain = chain_below()
    for at in (NOW, NOW + KEPT_FOR / 2):
        assert isinstance(source.status_of(chain, at), Good)
    assert len(source._judged) == 1
    later = NOW + KEPT_FOR + timedelta(minutes=6)
    assert isinstance(source.status_of(chain, later), Unavailable)
