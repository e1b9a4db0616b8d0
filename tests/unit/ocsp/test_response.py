"""Answers that must be refused, one changed field each; then the question."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from ocsp.certificate import read_certificate
from ocsp.config import CertIdHash, NonceMode
from ocsp.errors import (
    AnswerAboutAnother,
    AnswerAlgorithmRefused,
    AnswerExtensionUnknown,
    AnswerFromFuture,
    AnswerHttpWrong,
    AnswerMalformed,
    AnswerRefused,
    AnswerSignatureInvalid,
    AnswerStale,
    AnswerTimesContradict,
    NonceMismatch,
    NonceMissing,
    ResponderDeclined,
)
from ocsp.response import MAX_SINGLE_RESPONSES, judge_answer
from ocsp.status import Good, OcspEvidence, Revoked, Suspended
from ocsp.transport import HttpAnswer
from tests.support.certificates import (
    NOW,
    private_key,
)
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer, standard_spec
from tests.support.ocsp_judging import (
    MEDIA_TYPE,
    NONCE,
    PKI,
    PROFILE,
    QUERY,
    SPEC,
    judge,
    query,
    signed_by,
)
from tests.support.trust import RESPONDER_URL, citizen_profile


def _one(**changes: Any) -> AnswerSpec:
    return replace(SPEC, singles=(SingleSpec(**changes),))


# --- 5-7: HTTP, status, type ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "media_type"), [(500, MEDIA_TYPE), (404, MEDIA_TYPE), (200, "text/html"), (200, "")]
)
def test_another_http_status_or_content_type_is_refused(status: int, media_type: str) -> None:
    with pytest.raises(AnswerHttpWrong):
        judge_answer(
            HttpAnswer(status, media_type, answer(SPEC)),
            query=QUERY,
            issuer=read_certificate(PKI.citizen_ca.der),
            profile=PROFILE,
            responder_url=RESPONDER_URL,
            at=NOW,
        )


@pytest.mark.parametrize(
    ("status", "name"),
    [
        ("malformed_request", "malformed_request"),
        ("internal_error", "internal_error"),
        ("try_later", "try_later"),
        ("sign_required", "sig_required"),
        ("unauthorized", "unauthorized"),
    ],
)
def test_an_unsuccessful_answer_is_no_answer(status: str, name: str) -> None:
    with pytest.raises(ResponderDeclined) as caught:
        judge(replace(SPEC, response_status=status))
    assert caught.value.response_status == name


def test_another_response_type_is_refused() -> None:
    with pytest.raises(AnswerMalformed):
        judge(replace(SPEC, response_type="1.2.3.4"))


def test_an_extension_that_occurs_twice_is_refused() -> None:
    with pytest.raises(AnswerMalformed, match="cannot be read"):
        judge(replace(SPEC, repeat_extensions=2))


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(AnswerMalformed):
        judge(answer(SPEC) + b"\x00")


# --- 8: signature ---------------------------------------------------------------------------------


def test_a_spoilt_signature_is_refused() -> None:
    with pytest.raises(AnswerSignatureInvalid):
        judge(replace(SPEC, spoil_signature=True))


def test_an_answer_signed_by_another_key_than_the_delegates_is_refused() -> None:
    other = replace(PKI.delegate, key=private_key("thief"))
    spec = replace(SPEC, signer=other, responder=PKI.delegate)
    with pytest.raises(AnswerSignatureInvalid):
        judge(spec)


def test_an_algorithm_for_another_type_of_key_is_refused() -> None:
    with pytest.raises(AnswerAlgorithmRefused):
        judge(replace(SPEC, algorithm="sha256_rsa"))


@pytest.mark.parametrize("name", ["sha384_ecdsa", "sha1_ecdsa", "sha1_rsa"])
def test_an_algorithm_outside_the_profiles_list_is_refused(name: str) -> None:
    profile = citizen_profile(PKI, answer_hashes=frozenset({"sha256"}))
    with pytest.raises(AnswerAlgorithmRefused):
        judge(replace(SPEC, algorithm=name), profile=profile)


# --- 12: CertID -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "override",
    [
        {"serial_number": 4711},
        {"issuer_name_hash": b"\x00" * 32},
        {"issuer_key_hash": b"\x00" * 32},
        {"hash_algorithm": {"algorithm": "sha384"}},
        {"hash_algorithm": {"algorithm": "md5"}},
    ],
)
def test_an_answer_about_another_certificate_is_refused(override: dict[str, Any]) -> None:
    with pytest.raises(AnswerAboutAnother):
        judge(_one(cert_id=override))


def test_an_answer_about_nothing_is_refused() -> None:
    with pytest.raises((AnswerAboutAnother, AnswerMalformed)):
        judge(replace(SPEC, singles=()))


def test_a_flood_of_single_responses_is_refused() -> None:
    with pytest.raises(AnswerMalformed, match="more than"):
        judge(replace(SPEC, singles=(SingleSpec(),) * (MAX_SINGLE_RESPONSES + 1)))


@pytest.mark.parametrize("order", [1, -1])
def test_of_contradictory_answers_revoked_wins(order: int) -> None:
    singles = (SingleSpec(), SingleSpec(status="revoked", reason="key_compromise"))[::order]
    assert isinstance(judge(replace(SPEC, singles=singles)), Revoked)


@pytest.mark.parametrize("order", [1, -1])
def test_of_contradictory_answers_suspended_wins_over_good_and_unknown(order: int) -> None:
    held = SingleSpec(status="revoked", reason="certificate_hold")
    singles = (SingleSpec(), held, SingleSpec(status="unknown"))[::order]
    assert isinstance(judge(replace(SPEC, singles=singles)), Suspended)


def test_answers_about_others_are_ignored() -> None:
    other = SingleSpec(status="revoked", cert_id={"serial_number": 4711})
    assert isinstance(judge(replace(SPEC, singles=(other, SingleSpec()))), Good)


# --- 13: times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"next_update": NOW - timedelta(minutes=5, seconds=1)},
        {"next_update": None},
        {"this_update": NOW - timedelta(hours=24, seconds=1)},
    ],
)
def test_a_stale_answer_is_refused(changes: dict[str, Any]) -> None:
    spec = _one(**({"next_update": NOW - timedelta(minutes=1)} | changes))
    if "this_update" not in changes:
        spec = replace(
            spec, singles=(replace(spec.singles[0], this_update=NOW - timedelta(minutes=30)),)
        )
    with pytest.raises(AnswerStale):
        judge(spec)


def test_an_answer_from_the_future_is_refused() -> None:
    later = NOW + timedelta(minutes=5, seconds=1)
    with pytest.raises(AnswerFromFuture):
        judge(_one(this_update=later))
    with pytest.raises(AnswerFromFuture):
        judge(replace(SPEC, produced_at=later))


def test_times_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(AnswerTimesContradict, match="nextUpdate"):
        judge(_one(next_update=NOW - timedelta(seconds=3)))
    with pytest.raises(AnswerTimesContradict, match="producedAt"):
        judge(replace(SPEC, produced_at=NOW - timedelta(seconds=3)))


def test_an_answer_produced_outside_the_responders_validity_is_refused() -> None:
    delegate = PKI.delegate_with(not_before=NOW - timedelta(seconds=1))
    early = SingleSpec(this_update=NOW - timedelta(seconds=3))
    spec = replace(signed_by(delegate), singles=(early,), produced_at=NOW - timedelta(seconds=2))
    with pytest.raises(AnswerTimesContradict, match="validity"):
        judge(spec)


def test_skew_is_allowed_for() -> None:
    ahead = NOW + timedelta(minutes=5)
    spec = replace(_one(this_update=ahead, next_update=ahead), produced_at=ahead)
    assert isinstance(judge(spec), Good)


def test_a_profile_may_do_without_next_update() -> None:
    profile = citizen_profile(PKI, next_update_required=False)
    status = judge(_one(next_update=None), profile=profile)
    assert isinstance(status, Good)
    assert status.evidence.next_update is None


# --- 14: critical extensions ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, critical_extension="1.2.3.4"),
        _one(critical_extension="1.2.3.4"),
        replace(SPEC, singles=(SingleSpec(), SingleSpec(critical_extension="1.2.3.4"))),
    ],
)
def test_an_unknown_critical_extension_is_refused(spec: AnswerSpec) -> None:
    with pytest.raises(AnswerExtensionUnknown) as caught:
        judge(spec)
    assert caught.value.oid == "1.2.3.4"


# --- 15: nonce ------------------------------------------------------------------------------------


def test_another_nonce_is_refused() -> None:
    with pytest.raises(NonceMismatch):
        judge(replace(SPEC, nonce=b"\x01" * 32))


@pytest.mark.parametrize("mode", [NonceMode.REQUIRE, NonceMode.PREFER])
def test_a_wrong_nonce_is_refused_whatever_the_mode(mode: NonceMode) -> None:
    profile = citizen_profile(PKI, nonce=mode)
    with pytest.raises(NonceMismatch):
        judge(replace(SPEC, nonce=NONCE + b"\x00"), profile=profile)


def test_a_missing_nonce_is_refused_when_required() -> None:
    with pytest.raises(NonceMissing):
        judge(replace(SPEC, nonce=None))


def test_a_missing_nonce_is_accepted_when_only_preferred() -> None:
    profile = citizen_profile(PKI, nonce=NonceMode.PREFER)
    status = judge(replace(SPEC, nonce=None), profile=profile)
    assert isinstance(status, Good)
    assert not status.evidence.nonce_matched


def test_a_critical_nonce_is_processed_like_any() -> None:
    assert isinstance(judge(replace(SPEC, nonce_critical=True)), Good)


def test_a_nonce_that_was_not_asked_for_is_ignored() -> None:
    profile = citizen_profile(PKI, nonce=NonceMode.OFF)
    asked = query(profile)
    assert asked.nonce is None
    spec = replace(standard_spec(PKI, asked.der), nonce=b"\x07" * 32)
    status = judge(spec, profile=profile, asked=asked)
    assert isinstance(status, Good)
    assert not status.evidence.nonce_matched


# --- the question ---------------------------------------------------------------------------------


def test_a_sha1_certid_is_asked_when_the_profile_says_so() -> None:
    profile = citizen_profile(PKI, certid_hash=CertIdHash.SHA1)
    asked = query(profile)
    assert asked.cert_id.hash_name == "sha1"
    assert len(asked.cert_id.issuer_key_hash) == 20
    spec = standard_spec(PKI, asked.der)
    assert isinstance(judge(spec, profile=profile, asked=asked), Good)


def test_a_query_holds_one_certificate_and_the_nonce_alone() -> None:
    from cryptography.x509 import ocsp as x509_ocsp

    request = x509_ocsp.load_der_ocsp_request(QUERY.der)
    assert request.serial_number == PKI.leaf.certificate.serial_number
    assert request.hash_algorithm.name == "sha256"
    assert [e.oid for e in request.extensions] == [x509.OCSPNonce.oid]
    assert QUERY.nonce == NONCE
    assert request.public_bytes(serialization.Encoding.DER) == QUERY.der


# --- random bytes ---------------------------------------------------------------------------------

GOOD = answer(SPEC)


@given(st.binary(max_size=500))
def test_random_bytes_are_refused_by_type(data: bytes) -> None:
    with pytest.raises(AnswerRefused):
        judge(data)


def _damaged(change: Callable[[bytearray], None]) -> bytes:
    body = bytearray(GOOD)
    change(body)
    return bytes(body)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_one_changed_byte_never_changes_what_is_believed(place: int, mask: int) -> None:
    body = _damaged(lambda b: b.__setitem__(place, b[place] ^ mask))
    try:
        status = judge(body)
    except AnswerRefused:
        return
    # The count of unused bits of a signature that ends in zero bits is not covered by it.
    believed = judge(GOOD)
    assert isinstance(status, Good)
    assert isinstance(believed, Good)
    assert isinstance(status.evidence, OcspEvidence)
    assert replace(status.evidence, response_der=GOOD) == believed.evidence


@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_answer_is_refused(length: int) -> None:
    with pytest.raises(AnswerRefused):
        judge(GOOD[:length])
