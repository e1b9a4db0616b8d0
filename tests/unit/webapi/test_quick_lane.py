"""The lane in front of the routes: what it leaves to them first, then what it answers itself."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from ocsp.responder.answering import Answer
from tests.support.certificates import NOW
from webapi.browser_guard import HEADERS
from webapi.limits import RateLimit, SourceLimiter
from webapi.operations.metrics import Metrics
from webapi.pki.quick_lane import QuickLane
from webapi.pki.service import MAX_ENCODED, MAX_REQUEST_BYTES, REQUEST_TYPE

LEFT = [b"left to the routes"]


@dataclass
class Service:
    """Notes what it is asked."""

    fails: bool = False
    asked: list[tuple[bytes, str | None]] = field(default_factory=list)

    def answer(self, unverified_request: bytes, ca: str | None) -> Answer:
        if self.fails:
            raise RuntimeError
        self.asked.append((unverified_request, ca))
        return Answer(b"answer", this_update=NOW, next_update=NOW, cacheable=True)

    def malformed(self) -> Answer:
        raise NotImplementedError

    def certificate(self, ca: str) -> bytes | None:
        return b"" if ca == "citizen-ca" else None

    def list_certificate(self, ca: str) -> None:
        raise NotImplementedError

    def crl(self, name: str) -> None:
        raise NotImplementedError


@dataclass
class Lane:
    service: Service = field(default_factory=Service)
    burst: int = 1_000
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    left: bytes | None = None

    def __post_init__(self) -> None:
        self.lane = QuickLane(
            self._behind,
            self.service,
            lambda: NOW,
            limiter=SourceLimiter(RateLimit(self.burst, 1.0)),
            observer=Metrics(self.registry),
        )

    def _behind(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.left = environ["wsgi.input"].read()
        return LEFT

    def ask(self, **changes: Any) -> tuple[bytes, dict[str, str]]:
        environ = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/ocsp/citizen-ca",
            "CONTENT_TYPE": REQUEST_TYPE,
            "CONTENT_LENGTH": "7",
            "REMOTE_ADDR": "192.0.2.1",
            "wsgi.input": BytesIO(b"request"),
        }
        told: dict[str, str] = {}

        def start_response(status: str, headers: list[tuple[str, str]]) -> None:
            assert status == "200 OK"
            told.update(headers)

        (body,) = self.lane(environ | changes, start_response)  # type: ignore[arg-type]
        return body, told


UNUSUAL: dict[str, dict[str, Any]] = {
    "type": {"CONTENT_TYPE": "application/json"},
    "no type": {"CONTENT_TYPE": ""},
    "no length": {"CONTENT_LENGTH": ""},
    "length": {"CONTENT_LENGTH": "-7"},
    "size": {"CONTENT_LENGTH": str(MAX_REQUEST_BYTES + 1)},
    "huge": {"CONTENT_LENGTH": "9" * 9_999},
    "incomplete": {"CONTENT_LENGTH": "8"},
    "method": {"REQUEST_METHOD": "PUT"},
    "authority": {"PATH_INFO": "/ocsp/other-ca"},
    "path": {"PATH_INFO": "/certs/citizen-ca.cer"},
    "name": {"PATH_INFO": "/ocspx"},
    "longer": {"PATH_INFO": "/ocsp/citizen-ca/"},
    "no base64": {"REQUEST_METHOD": "GET", "PATH_INFO": "/ocsp/citizen-ca/!"},
    "long base64": {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/ocsp/citizen-ca/" + "A" * (MAX_ENCODED + 4),
    },
    "empty base64": {"REQUEST_METHOD": "GET", "PATH_INFO": "/ocsp/citizen-ca/"},
    "no authority": {"REQUEST_METHOD": "GET", "PATH_INFO": "/ocsp"},
    "conditional": {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/ocsp/citizen-ca/AAAA",
        "HTTP_IF_NONE_MATCH": '"x"',
    },
}


@pytest.mark.parametrize("changes", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_is_left_with_its_whole_body(changes: dict[str, Any]) -> None:
    lane = Lane()
    assert lane.ask(**changes)[0] == LEFT[0]
    assert lane.left == b"request"
    assert lane.service.asked == []


def test_a_failure_is_left_to_those_who_tell_of_it() -> None:
    lane = Lane(Service(fails=True))
    assert lane.ask()[0] == LEFT[0]
    assert lane.left == b"request"


def test_an_address_that_asks_too_often_is_left() -> None:
    lane = Lane(burst=1)
    assert lane.ask()[0] == b"answer"
    assert lane.ask()[0] == LEFT[0]
    assert lane.ask(REMOTE_ADDR="192.0.2.2")[0] == b"answer"


@pytest.mark.parametrize(("path", "ca"), [("/ocsp", None), ("/ocsp/citizen-ca", "citizen-ca")])
def test_the_usual_request_is_answered_here(path: str, ca: str | None) -> None:
    lane = Lane()
    body, headers = lane.ask(PATH_INFO=path)
    assert body == b"answer"
    assert lane.service.asked == [(b"request", ca)]
    assert HEADERS.items() <= headers.items()
    assert headers["Content-Length"] == "6"
    counted = lane.registry.get_sample_value(
        "tamga_http_requests_total", {"endpoint": "pki.ocsp", "status": "200"}
    )
    assert counted == 1
    assert lane.registry.get_sample_value("tamga_http_requests_in_progress") == 0


@given(st.binary(min_size=1, max_size=200))
def test_a_request_by_get_arrives_as_it_was_encoded(request_der: bytes) -> None:
    lane = Lane()
    encoded = base64.b64encode(request_der).decode()
    lane.ask(REQUEST_METHOD="GET", PATH_INFO=f"/ocsp/citizen-ca/{encoded}", CONTENT_TYPE="")
    assert lane.service.asked == [(request_der, "citizen-ca")]
