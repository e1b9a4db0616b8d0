"""The statuses of answers that passed every check (step 16)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ocsp.status import Good, OcspEvidence, Revoked, Suspended, Unknown
from tests.support.certificates import NOW
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer
from tests.support.ocsp_judging import SPEC, judge
from tests.support.trust import RESPONDER_URL


def _one(**changes: Any) -> AnswerSpec:
    return replace(SPEC, singles=(SingleSpec(**changes),))


def test_good_carries_its_evidence() -> None:
    body = answer(SPEC)
    status = judge(body)
    assert isinstance(status, Good)
    evidence = status.evidence
    assert isinstance(evidence, OcspEvidence)
    assert evidence.response_der == body
    assert len(evidence.sha256) == 64
    assert evidence.responder_name == "CN=OCSP delegate,O=Tamga Test,C=MN"
    assert evidence.responder_url == RESPONDER_URL
    assert evidence.this_update == NOW - timedelta(seconds=2)
    assert evidence.produced_at == NOW - timedelta(seconds=1)
    assert evidence.nonce_matched
    assert body.hex() not in repr(status)


@pytest.mark.parametrize(("reason", "name"), [(None, None), ("key_compromise", "keyCompromise")])
def test_revoked_says_when_and_why(reason: str | None, name: str | None) -> None:
    status = judge(_one(status="revoked", reason=reason))
    assert isinstance(status, Revoked)
    assert (status.at, status.reason) == (NOW - timedelta(days=2), name)


def test_a_certificate_on_hold_is_suspended() -> None:
    status = judge(_one(status="revoked", reason="certificate_hold"))
    assert isinstance(status, Suspended)
    assert status.since == NOW - timedelta(days=2)


def test_unknown_names_the_responder() -> None:
    status = judge(_one(status="unknown"))
    assert isinstance(status, Unknown)
    assert status.responder.startswith("CN=OCSP delegate")


def test_on_hold_since_1970_means_never_issued() -> None:
    never = datetime(1970, 1, 1, tzinfo=UTC)
    status = judge(_one(status="revoked", reason="certificate_hold", revoked_at=never))
    assert isinstance(status, Unknown)


@pytest.mark.parametrize("reason", [7, 11, 127, 128, 70_000])
@pytest.mark.parametrize("more", [(), (SingleSpec(),)])
def test_revoked_for_a_reason_that_nobody_defined_is_revoked(
    reason: int, more: tuple[SingleSpec, ...]
) -> None:
    revoked = SingleSpec(status="revoked", reason=reason)
    status = judge(replace(SPEC, singles=(revoked, *more)))
    assert isinstance(status, Revoked)
    assert (status.at, status.reason) == (NOW - timedelta(days=2), None)
