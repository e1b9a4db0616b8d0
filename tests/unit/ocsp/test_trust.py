"""Trust is refused on everything but good; the transport's failures included."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from ocsp.chain import validate_path
from ocsp.client import PURPOSE
from ocsp.errors import (
    AnswerHttpWrong,
    AnswerRefused,
    AnswerStale,
    BodyTooLarge,
    CertificateRefused,
    CertificateRevoked,
    CertificateStatusUnavailable,
    CertificateStatusUnknown,
    CertificateSuspended,
    DeadlineExceeded,
    NonceMissing,
    RedirectRefused,
    ResponderDeclined,
    TransportError,
    Undecided,
)
from ocsp.status import Good, Unavailable
from ocsp.transport import HttpAnswer
from ocsp.trust import TrustedCertificate, establish_trust
from tests.support.certificates import NOW, development_like_pki
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer, standard_spec
from tests.support.trust import RESPONDER_URL, CannedPoster, client, trust_store

PKI = development_like_pki()
CHAIN = validate_path(PKI.leaf.der, trust_store(PKI), NOW)


def _poster(**changes: object) -> CannedPoster:
    def reply(request: bytes) -> bytes:
        spec: AnswerSpec = replace(standard_spec(PKI, request), **changes)  # type: ignore[arg-type]  # AnswerSpec's fields
        return answer(spec)

    return CannedPoster(reply)


def _single(single: SingleSpec) -> CannedPoster:
    return _poster(singles=(single,))


def test_a_revoked_certificate_is_refused() -> None:
    poster = _single(SingleSpec(status="revoked", reason="key_compromise"))
    with pytest.raises(CertificateRevoked) as caught:
        establish_trust(CHAIN, source=client(poster), at=NOW)
    assert caught.value.revoked_at == NOW - timedelta(days=2)
    assert caught.value.reason == "keyCompromise"
    assert isinstance(caught.value, CertificateRefused)


def test_a_suspended_certificate_is_refused() -> None:
    poster = _single(SingleSpec(status="revoked", reason="certificate_hold"))
    with pytest.raises(CertificateSuspended) as caught:
        establish_trust(CHAIN, source=client(poster), at=NOW)
    assert caught.value.since == NOW - timedelta(days=2)


def test_an_unknown_certificate_is_refused() -> None:
    with pytest.raises(CertificateStatusUnknown) as caught:
        establish_trust(CHAIN, source=client(_single(SingleSpec(status="unknown"))), at=NOW)
    assert caught.value.responder.startswith("CN=OCSP delegate")
    assert isinstance(caught.value, Undecided)


@pytest.mark.parametrize(
    "error", [DeadlineExceeded("late"), BodyTooLarge("big"), RedirectRefused("302")]
)
def test_an_answer_that_did_not_come_is_unavailable(error: TransportError) -> None:
    with pytest.raises(CertificateStatusUnavailable) as caught:
        establish_trust(CHAIN, source=client(CannedPoster(lambda _: error)), at=NOW)
    assert caught.value.cause is error
    assert isinstance(caught.value, Undecided)


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (lambda _: HttpAnswer(503, "text/html", b""), AnswerHttpWrong),
        (lambda _: b"garbage", AnswerRefused),
    ],
)
def test_an_unusable_answer_is_unavailable(
    reply: Callable[[bytes], bytes | HttpAnswer], cause: type[AnswerRefused]
) -> None:
    with pytest.raises(CertificateStatusUnavailable) as caught:
        establish_trust(CHAIN, source=client(CannedPoster(reply)), at=NOW)
    assert isinstance(caught.value.cause, cause)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"nonce": None}, NonceMissing),
        ({"response_status": "try_later"}, ResponderDeclined),
        ({"singles": (SingleSpec(this_update=NOW - timedelta(days=2)),)}, AnswerStale),
    ],
)
def test_a_refused_answer_is_unavailable(
    changes: dict[str, object], cause: type[AnswerRefused]
) -> None:
    with pytest.raises(CertificateStatusUnavailable) as caught:
        establish_trust(CHAIN, source=client(_poster(**changes)), at=NOW)
    assert isinstance(caught.value.cause, cause)


def test_a_status_can_be_asked_without_raising() -> None:
    unavailable = client(CannedPoster(lambda _: b"")).status_of(CHAIN, NOW)
    assert isinstance(unavailable, Unavailable)
    good = client(_poster(), random_bytes=lambda size: b"n" * size).status_of(CHAIN, NOW)
    assert isinstance(good, Good)


def test_a_recorded_answer_is_no_answer_to_another_question() -> None:
    recorded: list[bytes] = []

    def reply(request: bytes) -> bytes:
        recorded.append(answer(standard_spec(PKI, request)))
        return recorded[0]

    poster = CannedPoster(reply)
    establish_trust(CHAIN, source=client(poster), at=NOW)
    with pytest.raises(CertificateStatusUnavailable, match="NonceMismatch"):
        establish_trust(CHAIN, source=client(poster), at=NOW)


def test_a_good_certificate_is_trusted_with_its_evidence() -> None:
    poster = _poster()
    trusted = establish_trust(CHAIN, source=client(poster), at=NOW)
    assert trusted.chain is CHAIN
    assert trusted.evidence.nonce_matched
    assert poster.posted == [(PURPOSE, RESPONDER_URL, CHAIN.profile.answer_max_bytes)]


def test_a_trusted_certificate_cannot_be_made_copied_or_pickled() -> None:
    trusted = establish_trust(CHAIN, source=client(_poster()), at=NOW)
    with pytest.raises(TypeError):
        TrustedCertificate(CHAIN, trusted.evidence)
    with pytest.raises(TypeError):
        replace(trusted, chain=CHAIN)
    with pytest.raises(TypeError):
        pickle.dumps(trusted)
