"""The standard question about the citizen's certificate, and judging answers to it."""

from dataclasses import replace
from datetime import datetime

from ocsp.certificate import read_certificate
from ocsp.config import IssuerProfile
from ocsp.request import OcspQuery, build_query
from ocsp.response import judge_answer
from ocsp.status import AnsweredStatus
from ocsp.transport import HttpAnswer
from tests.support.certificates import NOW, Issued, development_like_pki
from tests.support.ocsp_answers import AnswerSpec, answer, standard_spec
from tests.support.trust import RESPONDER_URL, citizen_profile

PKI = development_like_pki()
PROFILE = citizen_profile(PKI)
NONCE = bytes(range(32))
MEDIA_TYPE = "application/ocsp-response"


def query(profile: IssuerProfile = PROFILE) -> OcspQuery:
    """The question as the profile asks it, with NONCE."""
    return build_query(
        PKI.leaf.certificate,
        PKI.citizen_ca.certificate,
        certid_hash=profile.certid_hash,
        nonce=profile.nonce,
        random_bytes=lambda size: NONCE[:size],
    )


QUERY = query()
SPEC = standard_spec(PKI, QUERY.der)


def judge(
    spec: AnswerSpec | bytes,
    *,
    profile: IssuerProfile = PROFILE,
    asked: OcspQuery = QUERY,
    at: datetime = NOW,
) -> AnsweredStatus:
    """Judge the answer that the spec describes, or these bytes."""
    body = spec if isinstance(spec, bytes) else answer(spec)
    return judge_answer(
        HttpAnswer(200, MEDIA_TYPE, body),
        query=asked,
        issuer=read_certificate(PKI.citizen_ca.der),
        profile=profile,
        responder_url=RESPONDER_URL,
        at=at,
    )


def signed_by(signer: Issued, *more: Issued) -> AnswerSpec:
    """The standard answer by another signer, whose certificate is in it."""
    return replace(SPEC, signer=signer, certificates=(signer, *more))
