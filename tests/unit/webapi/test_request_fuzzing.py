"""Hostile requests over HTTP: each is answered or declined as OCSP has it, none by an error."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pytest
from cryptography.x509 import ocsp as x509_ocsp
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ocsp.config import CertIdHash, NonceMode
from ocsp.request import build_query
from ocsp.responder.answering import Answer, Declined, ResponderCa, answer, decline
from ocsp.responder.encoding import tlv
from ocsp.responder.statuses import IssuedGood, IssuedStatus, NotIssued
from tests.support.certificates import NOW, development_like_pki
from webapi.limits import RateLimit, SourceLimiter
from webapi.operations.metrics import Metrics
from webapi.pki.routes import create_pki_app

PKI = development_like_pki()
CA = ResponderCa("citizen", PKI.citizen_ca.certificate, PKI.delegate.certificate, PKI.delegate.key)
SERIAL = PKI.leaf.certificate.serial_number
TYPE = "application/ocsp-request"
DECLINED = {
    x509_ocsp.OCSPResponseStatus.MALFORMED_REQUEST,
    x509_ocsp.OCSPResponseStatus.UNAUTHORIZED,
}
STATUS = x509_ocsp.OCSPCertStatus


class OneIssued:
    """`IssuedStatusSource`: one certificate is good, the others were not issued."""

    def status(self, ca: str, serial: int) -> IssuedStatus:
        return IssuedGood() if serial == SERIAL else NotIssued()


class Service:
    """`PkiService` without a database."""

    def answer(self, unverified_request: bytes, ca: str | None) -> Answer:
        return answer(unverified_request, [CA], OneIssued(), NOW)

    def malformed(self) -> Answer:
        return decline(Declined.MALFORMED_REQUEST)

    def certificate(self, ca: str) -> bytes | None:
        return b"" if ca == CA.name else None

    def list_certificate(self, ca: str) -> None:
        raise NotImplementedError

    def crl(self, name: str) -> None:
        raise NotImplementedError


def _clock() -> datetime:
    return NOW


CLIENT: FlaskClient = create_pki_app(
    Service(),
    _clock,
    limiter=SourceLimiter(RateLimit(1_000_000_000, 1.0)),
    observer=Metrics(CollectorRegistry()),
).test_client()


def ask(nonce: bytes | None, certid_hash: CertIdHash) -> bytes:
    return build_query(
        PKI.leaf.certificate,
        PKI.citizen_ca.certificate,
        certid_hash=certid_hash,
        nonce=NonceMode.OFF if nonce is None else NonceMode.REQUIRE,
        random_bytes=lambda _: nonce or b"",
    ).der


ASKED = tuple(ask(nonce, hash_) for nonce in (None, b"n" * 32) for hash_ in CertIdHash)


@dataclass(frozen=True)
class Node:
    """An element of DER: its tag and, of a constructed one, its elements."""

    tag: int
    content: "bytes | tuple[Node, ...]"

    def encoded(self) -> bytes:
        if isinstance(self.content, bytes):
            return tlv(self.tag, self.content)
        return tlv(self.tag, *(node.encoded() for node in self.content))


def parsed(der: bytes) -> tuple[Node, ...]:
    return tuple(_elements(der))


def _elements(der: bytes) -> Iterator[Node]:
    while der:
        tag, size, start = der[0], der[1], 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(der[2:start])
        content, der = der[start : start + size], der[start + size :]
        yield Node(tag, parsed(content) if tag & 0x20 else content)


leaves = st.builds(Node, st.integers(0, 0x1E), st.binary(max_size=40))
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        Node, st.sampled_from((0x30, 0x31, 0xA0, 0xA2)), st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, node: Node) -> Node:
    """An element in which one other element was replaced, left out, doubled or moved."""
    if isinstance(node.content, bytes) or not node.content or draw(st.booleans()):
        return draw(st.one_of(trees, st.just(Node(draw(st.integers(0, 0xFE)), node.content))))
    place = draw(st.integers(0, len(node.content) - 1))
    before, at, after = node.content[:place], node.content[place], node.content[place + 1 :]
    kind = draw(st.sampled_from(("inside", "gone", "twice", "more", "first")))
    content = {
        "inside": lambda: (*before, draw(changed(at)), *after),
        "gone": lambda: (*before, *after),
        "twice": lambda: (*before, at, at, *after),
        "more": lambda: (*before, at, draw(trees), *after),
        "first": lambda: (at, *before, *after),
    }[kind]()
    return Node(node.tag, content)


structured = st.sampled_from(ASKED).flatmap(
    lambda der: changed(parsed(der)[0]).map(lambda node: node.encoded())
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A request with some bytes changed, and cut."""
    der = bytearray(draw(st.sampled_from(ASKED)))
    for _ in range(draw(st.integers(1, 4))):
        der[draw(st.integers(0, len(der) - 1))] = draw(st.integers(0, 255))
    return bytes(der[: draw(st.integers(0, len(der)))])


hostile = st.one_of(structured, damaged(), st.binary(max_size=300))


@given(hostile, st.booleans())
def test_whatever_is_asked_is_answered_as_ocsp_has_it(request_der: bytes, by_get: bool) -> None:
    assert_answered(request_der, by_get=by_get)


@pytest.mark.long
@settings(max_examples=150_000, suppress_health_check=[HealthCheck.too_slow])
@given(hostile, st.booleans())
def test_whatever_is_asked_for_ten_minutes_is_answered(request_der: bytes, by_get: bool) -> None:
    assert_answered(request_der, by_get=by_get)


def assert_answered(request_der: bytes, *, by_get: bool) -> None:
    if by_get and request_der:
        path = "/ocsp/citizen/" + base64.b64encode(request_der).decode()
        response = CLIENT.get(path)
    else:
        response = CLIENT.post("/ocsp/citizen", data=request_der, content_type=TYPE)
    assert response.status_code == 200
    assert response.content_type == "application/ocsp-response"
    told = x509_ocsp.load_der_ocsp_response(response.data)
    if told.response_status in DECLINED:
        return
    assert told.response_status is x509_ocsp.OCSPResponseStatus.SUCCESSFUL
    issued = told.serial_number == SERIAL
    assert told.certificate_status is (STATUS.GOOD if issued else STATUS.UNKNOWN)


@pytest.mark.parametrize("der", ASKED)
def test_the_pieces_that_are_changed_are_those_of_a_request(der: bytes) -> None:
    (node,) = parsed(der)
    assert node.encoded() == der
    assert answer(der, [CA], OneIssued(), NOW).declined is None
