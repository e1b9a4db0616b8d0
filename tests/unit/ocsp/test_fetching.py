"""Fetching over HTTP: the same guards as posting, and only what has changed."""

import socket
from collections.abc import Callable
from datetime import timedelta

import pytest

from ocsp.destination import Destination
from ocsp.errors import AddressRefused, BodyTooLarge, DestinationNotRegistered, RedirectRefused
from ocsp.transport import MAX_HEADER_VALUE, Egress, HttpAnswer, KnownVersion
from tests.support.sockets import listener

UNCHANGED = b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n'


def _serving(reply: bytes, seen: list[bytes]) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += connection.recv(65_536)
        seen.append(received)
        connection.sendall(reply)

    return serve


def _get(
    port: int, *, path: str = "/list.crl", max_bytes: int = 1000, known: KnownVersion | None = None
) -> HttpAnswer:
    destination = Destination(f"http://127.0.0.1:{port}/list.crl", allow_loopback=True)
    return Egress({"crl": (destination,)}).get(
        "crl",
        f"http://127.0.0.1:{port}{path}",
        accept="application/pkix-crl",
        max_bytes=max_bytes,
        timeout=timedelta(seconds=60),
        known=known,
    )


def test_a_fetch_has_no_body_and_no_type_of_one() -> None:
    seen: list[bytes] = []
    reply = b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nLast-Modified: x\r\nContent-Length: 2\r\n\r\nhi'
    with listener(_serving(reply, seen)) as port:
        assert _get(port) == HttpAnswer(200, "", b"hi", '"v1"', "x")
    lines = seen[0].split(b"\r\n")
    assert lines[0] == b"GET /list.crl HTTP/1.1"
    assert b"Accept: application/pkix-crl" in lines
    assert not [line for line in lines if line.lower().startswith((b"content-", b"if-"))]


def test_what_is_known_is_not_sent_again() -> None:
    seen: list[bytes] = []
    with listener(_serving(UNCHANGED, seen)) as port:
        answer = _get(port, known=KnownVersion('"v1"', "Mon, 01 Jan 2024 00:00:00 GMT"))
    assert (answer.status, answer.body) == (304, b"")
    assert b'If-None-Match: "v1"\r\n' in seen[0]
    assert b"If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\n" in seen[0]


@pytest.mark.parametrize("known", [None, KnownVersion()])
def test_unchanged_without_a_known_version_is_refused(known: KnownVersion | None) -> None:
    with listener(_serving(UNCHANGED, [])) as port, pytest.raises(RedirectRefused):
        _get(port, known=known)


def test_a_redirect_is_refused_whatever_is_known() -> None:
    reply = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n"
    with listener(_serving(reply, [])) as port, pytest.raises(RedirectRefused):
        _get(port, known=KnownVersion('"v1"'))


def test_a_body_over_the_cap_is_refused() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b"x" * 11
    with listener(_serving(reply, [])) as port, pytest.raises(BodyTooLarge):
        _get(port, max_bytes=10)


@pytest.mark.parametrize("value", ["x" * (MAX_HEADER_VALUE + 1), "a\tb"])
def test_a_version_that_could_not_be_sent_back_counts_as_absent(value: str) -> None:
    reply = f"HTTP/1.1 200 OK\r\nETag: {value}\r\nContent-Length: 0\r\n\r\n".encode()
    with listener(_serving(reply, [])) as port:
        assert _get(port).etag == ""


def test_only_registered_places_are_fetched_from() -> None:
    with pytest.raises(DestinationNotRegistered):
        _get(80, path="/other.crl")


def test_an_address_that_is_not_allowed_is_not_fetched_from() -> None:
    egress = Egress({"crl": (Destination("http://127.0.0.1/a.crl"),)})
    with pytest.raises(AddressRefused):
        egress.get(
            "crl",
            "http://127.0.0.1/a.crl",
            accept="*/*",
            max_bytes=1,
            timeout=timedelta(seconds=1),
        )
