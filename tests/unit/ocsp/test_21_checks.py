"""The client's 21 checks by number, each with what it refuses: one field changed, signed again.

The numbers are those of the list in `docs/ocsp-checks.md`. More cases of each check are in the test
of the module that makes it; here none may be missing.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ocsp import errors
from ocsp.cache import KeptAnswer, judge_kept
from ocsp.chain import validate_path
from ocsp.checks import Check, check_of
from ocsp.config import CacheUse, CertIdHash, NonceMode
from ocsp.crl.authorities import CheckedAuthorities
from ocsp.crl.errors import AuthorityStatusUnknown, CrlMissing, CrlStale
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.crl.source import CrlSource, ReadLists
from ocsp.request import MAX_GET_URL, NONCE_BYTES, get_url
from ocsp.status import CertificateStatus, Good, Revoked, Unavailable
from ocsp.status_order import StatusByOrder
from ocsp.transport import HttpAnswer
from ocsp.trust import establish_trust
from tests.support.certificates import (
    NOW,
    authority_spec,
    delegate_spec,
    edited,
    issue,
    private_key,
)
from tests.support.crls import CrlSpec, EntrySpec, make_crl, scope
from tests.support.lists import MemoryLists
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer
from tests.support.ocsp_judging import NONCE, PKI, QUERY, SPEC, judge, query, signed_by
from tests.support.trust import RESPONDER_URL, CannedPoster, citizen_profile, client, trust_store

Negative = Callable[[], None]
CHECKS: dict[int, list[Negative]] = {}
LIST = CrlSpec(issuer=PKI.citizen_ca)
LIST_URL = "http://ca.example/citizen.crl"
SOON = NOW + timedelta(minutes=5, seconds=1)


def of_check(number: int) -> Callable[[Negative], Negative]:
    """Enter a negative test under its number."""

    def enter(check: Negative) -> Negative:
        CHECKS.setdefault(number, []).append(check)
        return check

    return enter


def refused(
    number: int, error: type[errors.TrustError], spec: AnswerSpec | bytes, **how: Any
) -> None:
    """Enter an answer that must be refused."""

    def check() -> None:
        with pytest.raises(error) as caught:
            judge(spec, **how)
        assert type(caught.value) is error
        assert check_of(caught.value).value == number

    of_check(number)(check)


def one(**changes: Any) -> AnswerSpec:
    return replace(SPEC, singles=(SingleSpec(**changes),))


def delegate(**changes: Any) -> AnswerSpec:
    return signed_by(PKI.delegate_with(**changes))


@of_check(1)
def no_question_about_a_certificate_whose_signature_is_bad() -> None:
    forged = edited(PKI.leaf, replace(PKI.citizen_ca, key=private_key("thief")), lambda _: None)
    with pytest.raises(errors.CertificateNotTrusted):
        validate_path(forged, trust_store(PKI), NOW)


@of_check(1)
def no_question_about_an_expired_certificate() -> None:
    poster = CannedPoster(lambda _: b"")
    chain = validate_path(PKI.leaf.der, trust_store(PKI), NOW)
    with pytest.raises(errors.CertificateExpired):
        client(poster).status_of(chain, NOW + timedelta(days=366))
    assert poster.posted == []


@of_check(2)
def the_request_holds_nothing_but_one_certificate_and_the_nonce() -> None:
    for nonce in NonceMode:
        asked = asn1_ocsp.OCSPRequest.load(query(citizen_profile(PKI, nonce=nonce)).der)
        tbs = asked["tbs_request"]
        assert asked["optional_signature"].native is None
        assert tbs["requestor_name"].native is None
        assert [r["single_request_extensions"].native for r in tbs["request_list"]] == [None]
        names = [e["extn_id"].native for e in tbs["request_extensions"] or ()]
        assert names == ([] if nonce is NonceMode.OFF else ["nonce"])


SHA1 = citizen_profile(PKI, certid_hash=CertIdHash.SHA1)


@of_check(3)
def an_answer_that_names_by_sha1_is_none_to_a_question_by_sha256() -> None:
    with pytest.raises(errors.AnswerAboutAnother):
        judge(replace(SPEC, request=query(SHA1).der))


@of_check(3)
def sha1_is_asked_for_by_an_issuers_own_setting_alone() -> None:
    assert (QUERY.cert_id.hash_name, query(SHA1).cert_id.hash_name) == ("sha256", "sha1")


@of_check(4)
def a_url_of_more_than_255_characters_is_not_fetched() -> None:
    whole = get_url("http://ocsp.example/", b"\x00" * 171)
    assert whole is not None
    room = MAX_GET_URL - len(whole)
    assert get_url("http://ocsp.example/" + "x" * (room - 1), b"\x00" * 171) is not None
    assert get_url("http://ocsp.example/" + "x" * room, b"\x00" * 171) is None


@of_check(5)
def another_http_status_media_type_size_or_place_is_refused() -> None:
    for reply, error in (
        (_http(500), errors.AnswerHttpWrong),
        (_http(200, "text/html"), errors.AnswerHttpWrong),
        (lambda _: errors.BodyTooLarge("big"), errors.BodyTooLarge),
        (lambda _: errors.RedirectRefused("302"), errors.RedirectRefused),
        (lambda _: errors.DeadlineExceeded("late"), errors.DeadlineExceeded),
    ):
        _unavailable(reply, error)


for status in ("malformed_request", "internal_error", "try_later", "sign_required", "unauthorized"):
    refused(6, errors.ResponderDeclined, replace(SPEC, response_status=status))

refused(7, errors.AnswerMalformed, replace(SPEC, response_type="1.3.6.1.5.5.7.48.1.2"))

refused(8, errors.AnswerSignatureInvalid, replace(SPEC, spoil_signature=True))
refused(8, errors.AnswerAlgorithmRefused, replace(SPEC, algorithm="sha1_ecdsa"))
refused(8, errors.ResponderKeyTooWeak, delegate(key=private_key("weak", "rsa1024")))

refused(9, errors.ResponderNotAuthorised, signed_by(issue(delegate_spec(PKI.national_ca))))
refused(9, errors.ResponderNotAuthorised, signed_by(PKI.national_ca))
refused(9, errors.ResponderNotAuthorised, delegate(extended_key_usage=()))
refused(
    9,
    errors.ResponderNotAuthorised,
    delegate(extended_key_usage=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
)
refused(
    9,
    errors.ResponderNotAuthorised,
    delegate(basic_constraints=x509.BasicConstraints(ca=True, path_length=None)),
)
refused(9, errors.ResponderExpired, delegate(not_after=NOW - timedelta(seconds=1)))
IMPOSTOR = issue(replace(authority_spec("Test Citizen CA", None), key=private_key("impostor")))
refused(9, errors.ResponderNotAuthorised, signed_by(issue(delegate_spec(IMPOSTOR)), IMPOSTOR))

refused(10, errors.DelegateStatusUnknown, delegate(ocsp_no_check=False))

refused(11, errors.ResponderNotNamed, replace(SPEC, responder=PKI.leaf))
refused(11, errors.ResponderNotNamed, replace(SPEC, responder=PKI.leaf, by_key=False))

for field, value in (
    ("serial_number", 4711),
    ("issuer_name_hash", b"\x00" * 32),
    ("issuer_key_hash", b"\x00" * 32),
    ("hash_algorithm", {"algorithm": "sha384"}),
):
    refused(12, errors.AnswerAboutAnother, one(cert_id={field: value}))


@of_check(12)
def of_contradictory_answers_revoked_wins() -> None:
    for more in (SingleSpec(), SingleSpec(status="unknown")):
        for order in (1, -1):
            singles = (SingleSpec(status="revoked"), more)[::order]
            with pytest.raises(errors.CertificateRevoked):
                _trust(singles=singles)


refused(13, errors.AnswerFromFuture, one(this_update=SOON))
refused(13, errors.AnswerFromFuture, replace(SPEC, produced_at=SOON))
refused(13, errors.AnswerStale, one(next_update=None))
refused(13, errors.AnswerStale, one(this_update=NOW - timedelta(hours=24, seconds=1)))
PASSED = NOW - timedelta(minutes=5, seconds=1)
refused(13, errors.AnswerStale, one(this_update=NOW - timedelta(minutes=9), next_update=PASSED))
refused(13, errors.AnswerTimesContradict, one(next_update=NOW - timedelta(seconds=3)))
refused(13, errors.AnswerTimesContradict, replace(SPEC, produced_at=NOW - timedelta(seconds=3)))
refused(13, errors.AnswerTimesContradict, delegate(not_before=NOW))

refused(14, errors.AnswerExtensionUnknown, replace(SPEC, critical_extension="1.2.3.4"))
refused(14, errors.AnswerExtensionUnknown, one(critical_extension="1.2.3.4"))
CRITICAL = SingleSpec(critical_extension="1.2.3.4")
refused(14, errors.AnswerExtensionUnknown, replace(SPEC, singles=(SingleSpec(), CRITICAL)))

refused(15, errors.NonceMissing, replace(SPEC, nonce=None))
refused(15, errors.NonceMismatch, replace(SPEC, nonce=NONCE[:-1]))
PREFER = citizen_profile(PKI, nonce=NonceMode.PREFER)
refused(15, errors.NonceMismatch, replace(SPEC, nonce=b"\x01" * 32), profile=PREFER)


@of_check(15)
def the_nonce_is_of_32_octets() -> None:
    assert NONCE_BYTES == 32
    assert QUERY.nonce is not None
    assert len(QUERY.nonce) == 32


@of_check(16)
def every_status_but_good_refuses() -> None:
    never = datetime(1970, 1, 1, tzinfo=UTC)
    held = SingleSpec(status="revoked", reason="certificate_hold")
    for single, error in (
        (SingleSpec(status="revoked"), errors.CertificateRevoked),
        (held, errors.CertificateSuspended),
        (replace(held, revoked_at=never), errors.CertificateStatusUnknown),
        (SingleSpec(status="unknown"), errors.CertificateStatusUnknown),
    ):
        with pytest.raises(error):
            _trust(singles=(single,))


@of_check(17)
def a_kept_answer_is_no_longer_believed_than_it_says_and_never_fresh() -> None:
    chain = validate_path(PKI.leaf.der, trust_store(PKI, cache=CacheUse.OUTAGE), NOW)
    end = NOW + timedelta(minutes=10)
    der = answer(SPEC)
    kept = KeptAnswer(b"", b"", der, "http://x/", NOW, NOW, True, end, NOW + timedelta(days=9))
    status = judge_kept(kept, chain, NOW)
    assert not status.evidence.nonce_matched
    with pytest.raises(errors.AnswerRefused, match="of no use"):
        judge_kept(kept, chain, end)
    spoilt = replace(kept, response_der=answer(replace(SPEC, spoil_signature=True)))
    with pytest.raises(errors.AnswerSignatureInvalid):
        judge_kept(spoilt, chain, NOW)


refused(18, errors.AnswerStatementWrong, one(cert_hash_of=PKI.citizen_ca.der))
refused(
    18,
    errors.AnswerStatementWrong,
    replace(SPEC, singles=(SingleSpec(), SingleSpec(cert_hash_of=PKI.citizen_ca.der))),
)
refused(18, errors.AnswerStatementWrong, one(raw_cert_hash=b"\x30\x00"))


def by_list(spec: CrlSpec, order: StatusOrder = StatusOrder.CRL_ONLY) -> CertificateStatus:
    """What a profile's one list says, after a responder that is down where the order has one."""
    responders = (RESPONDER_URL,) if order.asks_responders else ()
    store = trust_store(PKI, order=order, crl=CrlRules((LIST_URL,)), responders=responders)
    lists = MemoryLists()
    lists.put(LIST_URL, make_crl(spec), NOW)
    source = StatusByOrder(
        client(CannedPoster(lambda _: errors.ConnectionFailed("down"))),
        CrlSource(ReadLists(lists), store),
    )
    return source.status_of(validate_path(PKI.leaf.der, store, NOW), NOW)


@of_check(19)
def a_list_that_is_stale_or_of_another_or_for_others_says_nothing() -> None:
    thief = replace(PKI.citizen_ca, key=private_key("thief"))
    for spec, error in (
        (replace(LIST, next_update=PASSED), CrlStale),
        (replace(LIST, issuer=PKI.national_ca), CrlMissing),
        (replace(LIST, scope=scope(only_contains_ca_certs=True)), CrlMissing),
        (replace(LIST, issuer=thief), errors.CrlRefused),
    ):
        found = by_list(spec)
        assert isinstance(found, Unavailable)
        assert isinstance(found.cause, error)
        assert check_of(found.cause) is Check.CRL


@of_check(19)
def a_list_is_heard_after_an_outage() -> None:
    entry = EntrySpec(PKI.leaf.certificate.serial_number)
    order = StatusOrder.OCSP_THEN_CRL
    assert isinstance(by_list(replace(LIST, entries=(entry,)), order), Revoked)
    assert isinstance(by_list(LIST, order), Good)


@of_check(21)
def a_ca_that_is_listed_or_of_which_no_list_speaks_refuses() -> None:
    entry = EntrySpec(PKI.national_ca.certificate.serial_number)
    rules = CrlRules((LIST_URL + "0", LIST_URL + "1"))
    store = trust_store(PKI, authority_status=rules)
    chain = validate_path(PKI.leaf.der, store, NOW)
    lists = MemoryLists()
    source = CheckedAuthorities(client(CannedPoster(lambda _: b"")), ReadLists(lists), store)
    found = source.status_of(chain, NOW)
    assert isinstance(found, Unavailable)
    assert isinstance(found.cause, AuthorityStatusUnknown)
    assert check_of(found.cause) is Check.CA_STATUS
    for index, authority in enumerate((PKI.root, PKI.national_ca)):
        lists.put(LIST_URL + str(index), make_crl(CrlSpec(issuer=authority)), NOW)
    lists.put(LIST_URL + "0", make_crl(CrlSpec(issuer=PKI.root, entries=(entry,))), NOW)
    with pytest.raises(errors.AuthorityRevoked) as caught:
        source.status_of(chain, NOW)
    assert check_of(caught.value) is Check.CA_STATUS


@of_check(20)
def whatever_could_not_be_found_out_refuses() -> None:
    for cause in (errors.ConnectionFailed, errors.NameUnresolved, errors.AddressRefused):
        _unavailable(partial(_fail, cause), cause)


def _fail(cause: type[Exception], _request: bytes) -> Exception:
    return cause("told so")


def _http(status: int, media_type: str = "application/ocsp-response") -> Callable[[bytes], Any]:
    return lambda _: HttpAnswer(status, media_type, answer(SPEC))


def _trust(**changes: Any) -> None:
    chain = validate_path(PKI.leaf.der, trust_store(PKI), NOW)
    poster = CannedPoster(lambda request: answer(replace(SPEC, request=request, **changes)))
    establish_trust(chain, source=client(poster), at=NOW)


def _unavailable(reply: Callable[[bytes], Any], cause: type[Exception]) -> None:
    chain = validate_path(PKI.leaf.der, trust_store(PKI), NOW)
    with pytest.raises(errors.CertificateStatusUnavailable) as caught:
        establish_trust(chain, source=client(CannedPoster(reply)), at=NOW)
    assert type(caught.value.cause) is cause


CASES = [
    pytest.param(check, id=f"{number}-{position}")
    for number, checks in sorted(CHECKS.items())
    for position, check in enumerate(checks)
]


@pytest.mark.parametrize("check", CASES)
def test_a_check_refuses(check: Negative) -> None:
    check()


def test_no_check_is_missing() -> None:
    assert sorted(CHECKS) == list(range(1, 22))


def test_the_unchanged_answer_passes_all_of_them() -> None:
    _trust()


def test_an_answer_that_states_the_right_certificate_passes() -> None:
    _trust(singles=(SingleSpec(cert_hash_of=PKI.leaf.der),))
