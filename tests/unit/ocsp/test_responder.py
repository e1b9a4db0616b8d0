"""Requests that our responder declines, CAs it refuses to be, then its answers, read by others."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from asn1crypto import core
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509 import ocsp as x509_ocsp
from hypothesis import given
from hypothesis import strategies as st

from ocsp.chain import validate_path
from ocsp.config import CertIdHash, NonceMode
from ocsp.errors import (
    CertificateRevoked,
    CertificateStatusUnknown,
    CertificateSuspended,
    RequestMalformed,
    ResponderMisconfigured,
)
from ocsp.request import build_query
from ocsp.responder.answering import Answer, Declined, ResponderCa, answer, decline
from ocsp.responder.encoding import tlv
from ocsp.responder.request_reading import MAX_NONCE_BYTES, MAX_REQUEST_BYTES, read_request
from ocsp.responder.statuses import (
    IssuedGood,
    IssuedRevoked,
    IssuedStatus,
    IssuedSuspended,
    NotIssued,
    RevocationReason,
)
from ocsp.trust import establish_trust
from tests.support.certificates import (
    NOW,
    Pki,
    delegate_spec,
    development_like_pki,
    issue,
    private_key,
)
from tests.support.trust import CannedPoster, client, trust_store

PKI = development_like_pki()
NONCE = b"\x80" + bytes(31)
SERIAL = PKI.leaf.certificate.serial_number
BEFORE = NOW - timedelta(days=3)


@dataclass
class Told:
    """A status source that says the same of one serial number."""

    status_of_leaf: IssuedStatus = IssuedGood()  # noqa: RUF009 -- frozen and without fields

    def status(self, ca: str, serial: int) -> IssuedStatus:
        return self.status_of_leaf if (ca, serial) == ("citizen", SERIAL) else NotIssued()


def responder(pki: Pki = PKI, **changes: Any) -> ResponderCa:
    fields: dict[str, Any] = {
        "name": "citizen",
        "certificate": pki.citizen_ca.certificate,
        "delegate": pki.delegate.certificate,
        "key": pki.delegate.key,
    }
    return ResponderCa(**(fields | changes))


CA = responder()


def ask(
    nonce: bytes | None = NONCE,
    certid_hash: CertIdHash = CertIdHash.SHA256,
    certificate: x509.Certificate = PKI.leaf.certificate,
    issuer: x509.Certificate = PKI.citizen_ca.certificate,
) -> bytes:
    return build_query(
        certificate,
        issuer,
        certid_hash=certid_hash,
        nonce=NonceMode.OFF if nonce is None else NonceMode.REQUIRE,
        random_bytes=lambda _: nonce or b"",
    ).der


def reply(request: bytes, status: IssuedStatus | None = None, at: datetime = NOW) -> Answer:
    return answer(request, [CA], Told(status or IssuedGood()), at)


def parsed(given_answer: Answer) -> x509_ocsp.OCSPResponse:
    return x509_ocsp.load_der_ocsp_response(given_answer.der)


# --- declined -------------------------------------------------------------------------------------


def _asn1_request(edit: Any) -> bytes:
    loaded = asn1_ocsp.OCSPRequest.load(ask())
    edit(loaded["tbs_request"])
    return bytes(loaded.dump(force=True))


def _two_requests(tbs: Any) -> None:
    tbs["request_list"].append(tbs["request_list"][0].copy())


def _critical(tbs: Any) -> None:
    value = core.ParsableOctetString(b"\x05\x00")
    tbs["request_extensions"] = [{"extn_id": "1.2.3.4", "critical": True, "extn_value": value}]


def _serial(number: int) -> Any:
    def edit(tbs: Any) -> None:
        tbs["request_list"][0]["req_cert"]["serial_number"] = number

    return edit


def _hash(tbs: Any) -> None:
    tbs["request_list"][0]["req_cert"]["hash_algorithm"] = {"algorithm": "md5"}


MALFORMED = {
    "empty": b"",
    "garbage": b"garbage",
    "trailing": ask() + b"\x00",
    "oversized": b"\x30" * (MAX_REQUEST_BYTES + 1),
    "two requests": _asn1_request(_two_requests),
    "unknown critical extension": _asn1_request(_critical),
    "serial 0": _asn1_request(_serial(0)),
    "serial -1": _asn1_request(_serial(-1)),
    "serial too long": _asn1_request(_serial(1 << 160)),
    "MD5": _asn1_request(_hash),
    "empty nonce": ask(b""),
    "long nonce": ask(bytes(MAX_NONCE_BYTES + 1)),
}


@pytest.mark.parametrize("request_der", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_is_declined_unsigned(request_der: bytes) -> None:
    with pytest.raises(RequestMalformed):
        read_request(request_der)
    declined = reply(request_der)
    assert declined.declined is Declined.MALFORMED_REQUEST
    assert parsed(declined).response_status is x509_ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    assert not declined.cacheable


def test_an_unknown_non_critical_extension_is_ignored() -> None:
    def edit(tbs: Any) -> None:
        value = core.ParsableOctetString(b"\x05\x00")
        tbs["request_extensions"] = [{"extn_id": "1.2.3.4", "extn_value": value}]

    assert read_request(_asn1_request(edit)).nonce is None


@pytest.mark.parametrize("issuer", [PKI.national_ca.certificate, PKI.root.certificate])
def test_a_question_about_another_authority_is_unauthorized(issuer: x509.Certificate) -> None:
    declined = reply(ask(issuer=issuer))
    assert parsed(declined).response_status is x509_ocsp.OCSPResponseStatus.UNAUTHORIZED


@pytest.mark.parametrize("at", [NOW - timedelta(days=2), NOW + timedelta(days=8)])
def test_an_expired_delegate_signs_nothing(at: datetime) -> None:
    assert reply(ask(), at=at).declined is Declined.INTERNAL_ERROR


@pytest.mark.parametrize("status", Declined)
def test_every_error_status_is_read_by_others(status: Declined) -> None:
    assert parsed(decline(status)).response_status.value == status.value


@given(st.binary(max_size=300))
def test_random_requests_are_declined(data: bytes) -> None:
    assert reply(data).declined in {Declined.MALFORMED_REQUEST, Declined.UNAUTHORIZED}


@given(st.integers(0, len(ask()) - 1), st.integers(1, 255))
def test_a_damaged_request_is_answered_or_declined(place: int, mask: int) -> None:
    damaged = bytearray(ask())
    damaged[place] ^= mask
    assert parsed(reply(bytes(damaged))).response_status in x509_ocsp.OCSPResponseStatus


# --- CAs that cannot be answered for --------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"key": private_key("another")},
        {"validity": timedelta(0)},
        {"certificate": PKI.national_ca.certificate},
        {"delegate": PKI.leaf.certificate, "key": PKI.leaf.key},
        {"delegate": PKI.citizen_ca.certificate, "key": PKI.citizen_ca.key},
        {"delegate": PKI.delegate_with(ocsp_no_check=False).certificate},
    ],
)
def test_a_delegate_that_does_not_belong_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ResponderMisconfigured):
        responder(**changes)


def test_a_malformed_delegate_is_refused() -> None:
    bad = x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff")
    delegate = PKI.delegate_with(key_usage=None, more_extensions=((bad, True),))
    with pytest.raises(ResponderMisconfigured):
        responder(delegate=delegate.certificate)


# --- answers --------------------------------------------------------------------------------------


def test_an_answer_has_the_shape_that_the_profile_demands() -> None:
    at = NOW.replace(microsecond=123_456)
    given_answer = reply(ask(), at=at)
    response = parsed(given_answer)
    single = next(iter(response.responses))
    assert response.responder_name is None
    assert (
        response.responder_key_hash
        == x509.SubjectKeyIdentifier.from_public_key(PKI.delegate.key.public_key()).digest
    )
    assert single.this_update_utc == response.produced_at_utc == NOW
    assert single.next_update_utc == NOW + CA.validity
    assert single.serial_number == SERIAL
    assert [e.oid for e in response.extensions] == [x509.OCSPNonce.oid]
    assert response.extensions[0].value == x509.OCSPNonce(NONCE)
    assert response.certificates == [PKI.delegate.certificate]
    assert (given_answer.this_update, given_answer.next_update) == (NOW, NOW + CA.validity)
    assert given_answer.declined is None


def test_an_answer_is_der_as_another_parser_writes_it() -> None:
    for status in (
        IssuedGood(),
        NotIssued(),
        IssuedSuspended(BEFORE),
        IssuedRevoked(BEFORE, RevocationReason.KEY_COMPROMISE),
    ):
        der = answer(ask(), [CA], Told(status), NOW).der
        loaded = asn1_ocsp.OCSPResponse.load(der, strict=True)
        assert loaded.native["response_status"] == "successful"
        assert loaded.dump(force=True) == der


def test_an_answer_ends_with_its_delegate() -> None:
    end = PKI.delegate.certificate.not_valid_after_utc
    assert reply(ask(), at=end - timedelta(minutes=1)).next_update == end


@pytest.mark.parametrize("certid_hash", CertIdHash)
@pytest.mark.parametrize("nonce", [NONCE, b"n", bytes(MAX_NONCE_BYTES), None])
def test_hash_and_nonce_come_back_as_they_were_asked(
    certid_hash: CertIdHash, nonce: bytes | None
) -> None:
    given_answer = reply(ask(nonce, certid_hash))
    response = parsed(given_answer)
    assert response.hash_algorithm.name == certid_hash.value
    values = [e.value for e in response.extensions]
    assert values == ([] if nonce is None else [x509.OCSPNonce(nonce)])
    assert given_answer.cacheable is (nonce is None)


def test_a_certificate_that_was_not_issued_is_unknown_and_never_good() -> None:
    stranger = PKI.leaf_with(serial=4711).certificate
    given_answer = reply(ask(None, certificate=stranger))
    assert parsed(given_answer).certificate_status is x509_ocsp.OCSPCertStatus.UNKNOWN
    assert not given_answer.cacheable


def _reasons() -> list[tuple[IssuedStatus, x509.ReasonFlags | None]]:
    found: list[tuple[IssuedStatus, x509.ReasonFlags | None]] = [
        (IssuedSuspended(BEFORE), x509.ReasonFlags.certificate_hold)
    ]
    for reason in RevocationReason:
        flag = None if reason is RevocationReason.UNSPECIFIED else x509.ReasonFlags(reason.value)
        found.append((IssuedRevoked(BEFORE, reason), flag))
    return found


@pytest.mark.parametrize(("status", "flag"), _reasons())
def test_reasons_are_the_standards(status: IssuedStatus, flag: x509.ReasonFlags | None) -> None:
    response = parsed(reply(ask(), status))
    assert response.certificate_status is x509_ocsp.OCSPCertStatus.REVOKED
    assert response.revocation_time_utc == BEFORE
    assert response.revocation_reason is flag


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
def test_our_client_believes_our_responder(kind: str) -> None:
    delegate = PKI.delegate_with(key=private_key(f"live {kind}", kind))
    ca = responder(delegate=delegate.certificate, key=delegate.key)
    chain = validate_path(PKI.leaf.der, trust_store(PKI), NOW)

    def poster(status: IssuedStatus) -> CannedPoster:
        return CannedPoster(lambda request: answer(request, [ca], Told(status), NOW).der)

    with pytest.raises(CertificateRevoked) as revoked:
        establish_trust(
            chain,
            source=client(poster(IssuedRevoked(BEFORE, RevocationReason.SUPERSEDED))),
            at=NOW,
        )
    assert revoked.value.reason == "superseded"
    with pytest.raises(CertificateSuspended):
        establish_trust(chain, source=client(poster(IssuedSuspended(BEFORE))), at=NOW)
    with pytest.raises(CertificateStatusUnknown):
        establish_trust(chain, source=client(poster(NotIssued())), at=NOW)
    trusted = establish_trust(chain, source=client(poster(IssuedGood())), at=NOW)
    assert trusted.evidence.nonce_matched


def test_the_right_authority_among_several_answers() -> None:
    national_delegate = delegate_spec(PKI.national_ca, "National delegate")
    issued = issue(national_delegate)
    national = ResponderCa("national", PKI.national_ca.certificate, issued.certificate, issued.key)
    given_answer = answer(ask(), [national, CA], Told(), NOW)
    assert parsed(given_answer).certificate_status is x509_ocsp.OCSPCertStatus.GOOD


class _TokenKey(ec.EllipticCurvePrivateKey):
    """A key object of a token: only public_key and sign are there."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._inner = key
        self.signed = 0

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._inner.curve

    @property
    def key_size(self) -> int:
        return self._inner.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._inner.public_key()

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        self.signed += 1
        digest = hashes.Hash(hashes.SHA256())
        digest.update(data)
        prehashed = ec.ECDSA(utils.Prehashed(hashes.SHA256()))
        return self._inner.sign(digest.finalize(), prehashed)

    def exchange(self, *_: Any, **__: Any) -> bytes:
        raise NotImplementedError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise NotImplementedError

    def private_bytes(self, *_: Any, **__: Any) -> bytes:
        raise NotImplementedError

    def __copy__(self) -> "_TokenKey":
        raise NotImplementedError

    def __deepcopy__(self, _: Any) -> "_TokenKey":
        raise NotImplementedError


def test_a_key_in_a_token_signs_once_per_answer() -> None:
    assert isinstance(PKI.delegate.key, ec.EllipticCurvePrivateKey)
    key = _TokenKey(PKI.delegate.key)
    ca = responder(key=key)
    response = parsed(answer(ask(), [ca], Told(), NOW))
    assert key.signed == 1
    key.public_key().verify(
        response.signature, response.tbs_response_bytes, ec.ECDSA(hashes.SHA256())
    )
    with pytest.raises(InvalidSignature):
        key.public_key().verify(response.signature, b"other", ec.ECDSA(hashes.SHA256()))
    assert "key" not in repr(ca)


def test_lengths_are_encoded_as_der_has_them() -> None:
    assert tlv(4, b"x" * 127)[:2] == b"\x04\x7f"
    assert tlv(4, b"x" * 128)[:3] == b"\x04\x81\x80"
    assert tlv(4, b"x" * 256)[:4] == b"\x04\x82\x01\x00"


def test_the_clock_of_another_zone_is_converted() -> None:
    ulaanbaatar = NOW.astimezone(timezone(timedelta(hours=8)))
    response = parsed(reply(ask(), at=ulaanbaatar))
    assert response.produced_at_utc == NOW.astimezone(UTC)
