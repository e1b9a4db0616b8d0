"""What never comes in, and when waiting ends; then one plain exchange."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ocsp.destination import Destination
from ocsp.errors import (
    BodyTooLarge,
    ConnectionFailed,
    DeadlineExceeded,
    RedirectRefused,
)
from ocsp.transport import Egress, HttpAnswer, _shut
from tests.support.certificates import (
    CertificateSpec,
    distinguished_name,
    issue,
    key_usage,
    private_key,
)
from tests.support.sockets import listener

LONG = 60.0
"""Seconds that nobody waits for."""
OK = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=x\r\nContent-Length: 2\r\n\r\nhi"


def receive(connection: socket.socket) -> bytes:
    """The whole request: a reply before its end would reset the connection."""
    received = b""
    while not received.endswith(b"question"):
        block = connection.recv(65_536)
        if not block:
            break
        received += block
    return received


def says(reply: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(reply)

    return serve


def post(
    port: int,
    *,
    path: str = "/ocsp",
    max_bytes: int = 1000,
    seconds: float = LONG,
    scheme: str = "http",
    tls: ssl.SSLContext | None = None,
    body: bytes = b"question",
) -> HttpAnswer:
    destination = Destination(f"{scheme}://127.0.0.1:{port}/ocsp", allow_loopback=True)
    egress = Egress({"ocsp": (destination,)}, tls=tls)
    return egress.post(
        "ocsp",
        f"{scheme}://127.0.0.1:{port}{path}",
        body,
        content_type="application/ocsp-request",
        accept="application/ocsp-response",
        max_bytes=max_bytes,
        timeout=timedelta(seconds=seconds),
    )


def test_a_resolver_that_never_answers_ends_at_the_deadline() -> None:
    release, ended = threading.Event(), threading.Event()

    def resolver(host: str, port: int) -> list[str]:
        release.wait(LONG)
        ended.set()
        return []

    egress = Egress({"ocsp": (Destination("http://slow.example/"),)}, resolver=resolver)
    with pytest.raises(DeadlineExceeded, match="resolved"):
        egress.post(
            "ocsp",
            "http://slow.example/",
            b"",
            content_type="a/b",
            accept="a/b",
            max_bytes=10,
            timeout=timedelta(seconds=0.2),
        )
    assert not ended.is_set()
    release.set()


def test_no_time_at_all_is_a_deadline_exceeded() -> None:
    with listener(says(OK)) as port, pytest.raises(DeadlineExceeded):
        post(port, seconds=0.0)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_never_followed(status: str) -> None:
    reply = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    with listener(says(reply.encode())) as port, pytest.raises(RedirectRefused):
        post(port)


@pytest.mark.parametrize("length", ["Content-Length: 1001\r\n", ""])
def test_an_oversized_body_is_refused(length: str) -> None:
    reply = f"HTTP/1.1 200 OK\r\n{length}\r\n".encode() + b"x" * 1001
    with listener(says(reply)) as port, pytest.raises(BodyTooLarge):
        post(port)


def test_a_body_that_never_ends_is_cut_at_the_cap() -> None:
    def serve(connection: socket.socket) -> None:
        receive(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 4096)

    with listener(serve) as port, pytest.raises(BodyTooLarge):
        post(port)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_a_broken_answer_is_a_failure(reply: bytes) -> None:
    with listener(says(reply)) as port, pytest.raises(ConnectionFailed):
        post(port)


def test_a_closed_port_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionFailed):
        post(port)


def _trickle(connection: socket.socket, first: bytes) -> None:
    """Go on for long, unless the other end hangs up."""
    connection.sendall(first)
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        time.sleep(0.05)
        connection.sendall(b"x")


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\n\r\n", b""],
    ids=["headers", "body", "silence"],
)
def test_a_trickle_ends_at_the_deadline(first: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        receive(connection)
        if first:
            _trickle(connection, first)
        else:
            connection.settimeout(LONG)
            connection.recv(1)  # until the other end hangs up

    started = time.monotonic()
    with listener(serve) as port, pytest.raises(DeadlineExceeded):
        post(port, seconds=0.4)
    assert time.monotonic() - started < LONG / 2


def test_a_tls_handshake_that_trickles_ends_at_the_deadline() -> None:
    started = time.monotonic()
    with (
        listener(lambda connection: _trickle(connection, b"\x16\x03\x03\x3f\xff")) as port,
        pytest.raises(DeadlineExceeded),
    ):
        post(port, seconds=0.4, scheme="https")
    assert time.monotonic() - started < LONG / 2


def test_a_question_is_posted_whole_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    # Proxies of the environment are not listened to.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(receive(connection))
        connection.sendall(OK)

    with listener(serve) as port:
        answer = post(port, path="/ocsp/citizen?x=1")
    assert answer == HttpAnswer(200, "text/plain", b"hi")
    lines = seen[0].split(b"\r\n")
    assert lines[0] == b"POST /ocsp/citizen?x=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}".encode() in lines
    assert b"Content-Length: 8" in lines
    assert b"Connection: close" in lines
    assert b"Transfer-Encoding: chunked" not in lines


def test_an_answer_without_length_or_type_ends_with_the_connection() -> None:
    with listener(says(b"HTTP/1.0 404 Not Found\r\n\r\nbye")) as port:
        assert post(port) == HttpAnswer(404, "", b"bye")


def _tls_server(folder: Path, name: x509.GeneralName) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a self-signed certificate for `name`, and that certificate."""
    issued = issue(
        CertificateSpec(
            subject=distinguished_name("tls"),
            key=private_key("tls"),
            # TLS reads the clock of the machine.
            not_before=datetime(2020, 1, 1, tzinfo=UTC),
            not_after=datetime(2100, 1, 1, tzinfo=UTC),
            key_usage=key_usage("digital_signature", "key_cert_sign"),
            basic_constraints=x509.BasicConstraints(ca=True, path_length=None),
            more_extensions=((x509.SubjectAlternativeName([name]), False),),
        )
    )
    certificate, key = folder / "tls.pem", folder / "tls.key"
    certificate.write_bytes(issued.certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        issued.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def _secured(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            receive(secured)
            secured.sendall(OK)

    return serve


def test_https_of_an_unknown_server_is_a_failure(tmp_path: Path) -> None:
    context, _ = _tls_server(tmp_path, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    with listener(_secured(context)) as port, pytest.raises(ConnectionFailed):
        post(port, scheme="https")


def test_https_of_another_name_is_a_failure(tmp_path: Path) -> None:
    context, certificate = _tls_server(tmp_path, x509.DNSName("elsewhere.example"))
    trusting = ssl.create_default_context(cafile=str(certificate))
    with listener(_secured(context)) as port, pytest.raises(ConnectionFailed):
        post(port, scheme="https", tls=trusting)


def test_https_of_a_trusted_server_answers(tmp_path: Path) -> None:
    context, certificate = _tls_server(tmp_path, x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    trusting = ssl.create_default_context(cafile=str(certificate))
    with listener(_secured(context)) as port:
        assert post(port, scheme="https", tls=trusting).body == b"hi"


def test_a_watchdog_that_comes_too_late_does_no_harm() -> None:
    with socket.socket() as unconnected:
        _shut(unconnected)
