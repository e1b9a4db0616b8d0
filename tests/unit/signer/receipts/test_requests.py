"""The election system's requests: malformed, misdirected, late, by another, then good."""

import base64
import json
import pickle
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as jose
from joserfc.jwk import ECKey

from signer.receipts.errors import (
    RequestExpired,
    RequestMalformed,
    RequestMisdirected,
    RequestSignatureInvalid,
    RequestTimeWrong,
)
from signer.receipts.jws import MAX_JWS_BYTES, sign_jws, thumbprint
from signer.receipts.merkle import EMPTY_ROOT
from signer.receipts.registration import (
    CLOSE_TYPE,
    RECEIPT_REQUEST_TYPE,
    REGISTRATION_TYPE,
    CloseOrder,
    ElectionSystem,
    ReceiptRequest,
    Registration,
    UnverifiedRegistration,
    sign_receipt_request,
    verify_close,
    verify_receipt_request,
    verify_registration,
)
from tests.support.receipt_disk import submission_id
from tests.support.receipts import AUDIENCE, ELECTION, NOW, TrialElection

TRIAL = TrialElection()
SYSTEM = ElectionSystem(ELECTION, TRIAL.system_key.public_key(), AUDIENCE)


CLAIMS: dict[str, Any] = {
    "aud": AUDIENCE,
    "election_id": ELECTION,
    "submission_id": submission_id(1),
    "ballot_sha256": "ab" * 32,
    "iat": int(NOW.timestamp()) // 600 * 600,
}


def jws(
    claims: dict[str, Any],
    typ: str = REGISTRATION_TYPE,
    key: ec.EllipticCurvePrivateKey = TRIAL.system_key,
) -> bytes:
    return sign_jws(claims, typ=typ, private_key=key).encode()


def verified(body: bytes, at: datetime = NOW) -> Registration:
    (registration,) = verify_registration(UnverifiedRegistration.parse(body), SYSTEM, at=at)
    return registration


def test_a_good_registration_is_kept_as_evidence() -> None:
    body = jws(CLAIMS)
    registration = verified(body, NOW + timedelta(days=30))
    assert registration.evidence == body
    assert registration.ballot_sha256 == b"\xab" * 32


@pytest.mark.parametrize(
    "change",
    [
        {"submission_id": "short"},
        {"submission_id": "a" * 65},
        {"submission_id": "a" * 15 + "!"},
        {"submission_id": 5},
        {"ballot_sha256": "AB" * 32},
        {"ballot_sha256": "ab" * 31},
        {"iat": -600},
        {"iat": "600"},
        {"iat": True},
        {"aud": [AUDIENCE]},
        {"more": 1},
    ],
)
def test_malformed_claims(change: dict[str, Any]) -> None:
    with pytest.raises(RequestMalformed):
        verified(jws(CLAIMS | change))


@pytest.mark.parametrize("name", CLAIMS)
def test_missing_claims(name: str) -> None:
    claims = {key: value for key, value in CLAIMS.items() if key != name}
    with pytest.raises(RequestMalformed):
        verified(jws(claims))


def test_an_exact_second_is_refused() -> None:
    with pytest.raises(RequestTimeWrong, match="ten minutes"):
        verified(jws(CLAIMS | {"iat": CLAIMS["iat"] + 1}))


def test_a_registration_from_the_future() -> None:
    with pytest.raises(RequestTimeWrong, match="future"):
        verified(jws(CLAIMS | {"iat": CLAIMS["iat"] + 1200}))


@pytest.mark.parametrize(
    "change", [{"aud": "https://elsewhere.example"}, {"election_id": "another"}]
)
def test_misdirected_registrations(change: dict[str, Any]) -> None:
    with pytest.raises(RequestMisdirected):
        verified(jws(CLAIMS | change))


def test_another_key() -> None:
    with pytest.raises(RequestSignatureInvalid):
        verified(jws(CLAIMS, key=ec.generate_private_key(ec.SECP256R1())))


def parts_of(body: bytes) -> list[bytes]:
    return body.split(b".")


def encoded(value: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "typ": REGISTRATION_TYPE, "kid": "k"},
        {"alg": "HS256", "typ": REGISTRATION_TYPE, "kid": "k"},
        {"alg": "ES256", "typ": CLOSE_TYPE, "kid": "k"},
        {"alg": "ES256", "typ": REGISTRATION_TYPE},
        {"alg": "ES256", "typ": REGISTRATION_TYPE, "kid": "k", "crit": ["b64"], "b64": False},
        {"alg": "ES256", "typ": REGISTRATION_TYPE, "kid": "k", "jwk": {}},
    ],
)
def test_other_headers(header: dict[str, Any]) -> None:
    _, payload, signature = parts_of(jws(CLAIMS))
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(b".".join([encoded(header), payload, signature]))


def test_the_key_id_is_signed_and_checked() -> None:
    header = {"alg": "ES256", "typ": REGISTRATION_TYPE, "kid": "another"}
    body = jose.serialize_compact(
        header, json.dumps(CLAIMS), ECKey.import_key(TRIAL.system_key), ["ES256"]
    )
    with pytest.raises(RequestSignatureInvalid, match="key id"):
        verified(body.encode())


GOOD = jws(CLAIMS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a.b",
        b"a.b.c.d",
        b"a.b.c",
        GOOD + b"=",
        b"." + GOOD.partition(b".")[2],
        GOOD.replace(b".", b"..", 1),
        bytes(MAX_JWS_BYTES + 1),
        GOOD.rpartition(b".")[0] + b".\xc3\xa9",
        b".".join([b"W10", *parts_of(GOOD)[1:]]),
        b".".join([b"W11", *parts_of(GOOD)[1:]]),
        b".".join([b"A", *parts_of(GOOD)[1:]]),
    ],
)
def test_bytes_that_are_no_request(body: bytes) -> None:
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(body)


@pytest.mark.parametrize("payload", [b"W10", b"W11", b"A", b"", b"e30"])
def test_an_unsigned_payload_is_not_even_read(payload: bytes) -> None:
    with pytest.raises(RequestSignatureInvalid):
        verified(b".".join([parts_of(GOOD)[0], payload, parts_of(GOOD)[2]]))


@pytest.mark.parametrize("payload", [b"[]", b"{", b"\xff", b'{"a":1,"a":1}'])
def test_a_signed_payload_that_is_no_object(payload: bytes) -> None:
    header = {"alg": "ES256", "typ": REGISTRATION_TYPE, "kid": SYSTEM.key_id}
    body = jose.serialize_compact(header, payload, ECKey.import_key(TRIAL.system_key), ["ES256"])
    with pytest.raises(RequestMalformed, match="JSON"):
        verified(body.encode())


@given(st.binary(max_size=200))
def test_random_bytes_are_no_request(body: bytes) -> None:
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(body)


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((RequestMalformed, RequestSignatureInvalid, RequestTimeWrong)):
        verified(bytes(changed))


REQUEST: dict[str, Any] = {
    "aud": AUDIENCE,
    "election_id": ELECTION,
    "submission_id": submission_id(1),
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 300,
}


def request(claims: dict[str, Any], *, at: datetime = NOW, wanted: int = 1) -> ReceiptRequest:
    token = jws(claims, RECEIPT_REQUEST_TYPE)
    return verify_receipt_request(token, submission_id(wanted), SYSTEM, at=at)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"aud": "other"}, RequestMisdirected),
        ({"election_id": "other"}, RequestMisdirected),
        ({"submission_id": submission_id(2)}, RequestMisdirected),
        ({"exp": REQUEST["iat"] + 301}, RequestTimeWrong),
        ({"exp": REQUEST["iat"]}, RequestTimeWrong),
        ({"iat": REQUEST["iat"] + 301, "exp": REQUEST["iat"] + 400}, RequestTimeWrong),
        ({"iat": None}, RequestMalformed),
        ({"jti": "x"}, RequestMalformed),
    ],
)
def test_requests_for_a_receipt_that_are_refused(
    change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        request(REQUEST | change)


def test_a_request_for_a_receipt_ends() -> None:
    assert request(REQUEST, at=NOW + timedelta(seconds=299)).submission_id == submission_id(1)
    with pytest.raises(RequestExpired, match="over"):
        request(REQUEST, at=NOW + timedelta(seconds=300))


def test_a_registration_is_no_request_for_a_receipt() -> None:
    with pytest.raises(RequestMalformed):
        verify_receipt_request(GOOD, submission_id(1), SYSTEM, at=NOW)


CLOSE: dict[str, Any] = {
    "aud": AUDIENCE,
    "election_id": ELECTION,
    "no_vote_root": EMPTY_ROOT.hex(),
    "no_vote_size": 0,
    "iat": int(NOW.timestamp()),
}


def test_orders_to_close() -> None:
    order = verify_close(jws(CLOSE, CLOSE_TYPE), SYSTEM, no_vote_proof=False, at=NOW)
    assert (order.no_vote_root, order.no_vote_size) == (EMPTY_ROOT, 0)
    with pytest.raises(RequestMalformed, match="no tree"):
        verify_close(
            jws(CLOSE | {"no_vote_size": 1}, CLOSE_TYPE), SYSTEM, no_vote_proof=False, at=NOW
        )
    rooted = jws(CLOSE | {"no_vote_root": "00" * 32}, CLOSE_TYPE)
    with pytest.raises(RequestMalformed, match="without leaves"):
        verify_close(rooted, SYSTEM, no_vote_proof=True, at=NOW)
    with pytest.raises(RequestMisdirected):
        verify_close(jws(CLOSE | {"aud": "other"}, CLOSE_TYPE), SYSTEM, no_vote_proof=True, at=NOW)


def test_the_sealed_types_are_made_by_verification_alone() -> None:
    made = (
        verified(GOOD),
        request(REQUEST),
        verify_close(jws(CLOSE, CLOSE_TYPE), SYSTEM, no_vote_proof=True, at=NOW),
    )
    for value in made:
        with pytest.raises(TypeError):
            pickle.dumps(value)
    with pytest.raises(TypeError):
        Registration("", "", b"", b"", in_batch=False)
    with pytest.raises(TypeError):
        ReceiptRequest("", "")
    with pytest.raises(TypeError):
        CloseOrder("", b"", 0, b"")


def test_key_ids_are_thumbprints() -> None:
    header = json.loads(base64.urlsafe_b64decode(parts_of(GOOD)[0] + b"=="))
    assert header["kid"] == thumbprint(TRIAL.system_key.public_key())
    token = sign_receipt_request(
        private_key=TRIAL.system_key,
        audience=AUDIENCE,
        election_id=ELECTION,
        submission_id=submission_id(1),
        at=NOW,
    )
    asked = verify_receipt_request(token.encode(), submission_id(1), SYSTEM, at=NOW)
    assert asked.election_id == ELECTION
