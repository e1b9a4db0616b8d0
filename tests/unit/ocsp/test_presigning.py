"""Answers signed beforehand: when the next are due, and twins that fit either hash."""

from datetime import timedelta

import pytest
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.config import CertIdHash
from ocsp.responder.answering import ResponderCa
from ocsp.responder.presigning import refresh_due, sign_twins
from ocsp.responder.statuses import IssuedGood, IssuedSuspended
from tests.support.certificates import NOW, development_like_pki

PKI = development_like_pki()
CA = ResponderCa("citizen", PKI.citizen_ca.certificate, PKI.delegate.certificate, PKI.delegate.key)
LIFE = timedelta(hours=1)


@pytest.mark.parametrize(
    ("hours", "due"), [(1, 0.5), (15, 7.5), (16, 8), (24, 16), (96, 88), (240, 96)]
)
def test_the_next_answer_is_due_as_the_requirements_have_it(hours: float, due: float) -> None:
    end = NOW + timedelta(hours=hours)
    assert refresh_due(NOW, end) == NOW + timedelta(hours=due)


def test_twins_say_the_same_to_either_hash() -> None:
    serial = PKI.leaf.certificate.serial_number
    since = NOW - timedelta(days=1)
    twins = sign_twins(CA, serial, IssuedSuspended(since), NOW, validity=LIFE)
    for der, certid_hash in ((twins.sha1, CertIdHash.SHA1), (twins.sha256, CertIdHash.SHA256)):
        response = x509_ocsp.load_der_ocsp_response(der)
        builder = x509_ocsp.OCSPRequestBuilder()
        asked = builder.add_certificate(
            PKI.leaf.certificate, PKI.citizen_ca.certificate, certid_hash.algorithm
        ).build()
        (single,) = response.responses
        assert single.hash_algorithm.name == certid_hash.value
        assert single.issuer_name_hash == asked.issuer_name_hash
        assert single.issuer_key_hash == asked.issuer_key_hash
        assert single.serial_number == serial
        assert single.revocation_time_utc == since
        assert (single.this_update_utc, single.next_update_utc) == (NOW, NOW + LIFE)
        assert len(response.extensions) == 0
    assert (twins.this_update, twins.next_update) == (NOW, NOW + LIFE)


def test_twins_end_with_their_delegate() -> None:
    end = PKI.delegate.certificate.not_valid_after_utc
    twins = sign_twins(CA, 1, IssuedGood(), end - timedelta(minutes=1), validity=LIFE)
    assert twins.next_update == end
