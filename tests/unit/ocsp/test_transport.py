"""What never leaves, what never comes in; then one plain exchange."""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from ocsp.errors import (
    AddressRefused,
    BodyTooLarge,
    ConfigurationInvalid,
    ConnectionFailed,
    DeadlineExceeded,
    DestinationNotRegistered,
    NameUnresolved,
    RedirectRefused,
)
from ocsp.transport import Destination, Egress, HttpAnswer, check_address, system_resolver
from tests.support.certificates import (
    CertificateSpec,
    distinguished_name,
    issue,
    key_usage,
    private_key,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=x\r\nContent-Length: 2\r\n\r\nhi"


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A one-connection server on a loopback port that treats its client as `serve` says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    serve(connection)
                except OSError:
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        # Closing does not wake accept() up; a connection does.
        with socket.socket() as waker:
            waker.connect_ex(server.getsockname())
        thread.join(5)


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
    seconds: float = 5.0,
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


def _dial(url: str, *, addresses: list[str] | None = None, registered: str | None = None) -> None:
    """Post to `url`, whose host resolves to `addresses`; nothing may be connected to."""

    def resolver(host: str, port: int) -> list[str]:
        if addresses is None:
            raise socket.gaierror("no such host")
        return addresses

    egress = Egress({"ocsp": (Destination(registered or url),)}, resolver=resolver)
    egress.post(
        "ocsp",
        url,
        b"",
        content_type="a/b",
        accept="a/b",
        max_bytes=10,
        timeout=timedelta(seconds=2),
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://ocsp.example.org:8080/ocsp",
        "https://ocsp.example.org/ocsp",
        "http://ocsp.example.org.evil.example/ocsp",
        "http://ocsp.example.org/",
        "http://ocsp.example.org/ocspx",
        "http://ocsp.example.org/ocsp/../admin",
        "http://ocsp.example.org/ocsp/%2e%2e/admin",
        "http://user@ocsp.example.org/ocsp",
        "http://ocsp.example.org\\@evil.example/ocsp",
        "http://ocsp.example.org/ocsp#x",
        "http://ocsp.example.org/ocsp\r\nX: y",
        "http://ocsp.example.org/o csp",
        "http://ocsp.example.org:99999/ocsp",
        "http://[::1/ocsp",
        "file:///etc/passwd",
        "gopher://ocsp.example.org/ocsp",
        "//ocsp.example.org/ocsp",
        "",
        "http://ocsp.ex\u0430mple.org/ocsp",
    ],
)
def test_a_url_that_is_not_registered_is_refused(url: str) -> None:
    with pytest.raises(DestinationNotRegistered):
        _dial(url, registered="http://ocsp.example.org/ocsp")


def test_a_purpose_without_destinations_is_refused() -> None:
    egress = Egress({"ocsp": (Destination("http://ocsp.example.org/"),)})
    with pytest.raises(DestinationNotRegistered, match="tsa"):
        egress.post(
            "tsa",
            "http://ocsp.example.org/",
            b"",
            content_type="a/b",
            accept="a/b",
            max_bytes=10,
            timeout=timedelta(seconds=1),
        )


@pytest.mark.parametrize(
    "url", ["", "ocsp.example.org", "http://h/?q=1", "ftp://h/", "http://h/#f"]
)
def test_a_destination_that_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationInvalid):
        Destination(url)


def test_https_without_verification_is_refused() -> None:
    careless = ssl.create_default_context()
    careless.check_hostname = False
    with pytest.raises(ConfigurationInvalid):
        Egress({}, tls=careless)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "10.0.0.1",
        "172.16.5.5",
        "192.168.1.1",
        "::ffff:192.168.1.1",
        "100.64.0.1",
        "fd00::1",
        "169.254.169.254",
        "fe80::1",
        "fe80::1%eth0",
        "0.0.0.0",  # noqa: S104 -- an address to refuse
        "::",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "2002:7f00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(AddressRefused):
        _dial("http://ocsp.example.org/", addresses=[address])


def test_one_bad_address_among_good_ones_refuses_all() -> None:
    with pytest.raises(AddressRefused):
        _dial("http://ocsp.example.org/", addresses=["8.8.8.8", "127.0.0.1"])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1]:1/", "http://10.1.2.3/"])
def test_a_literal_address_is_judged_as_well(url: str) -> None:
    with pytest.raises(AddressRefused):
        _dial(url)


def test_leave_is_given_per_kind_of_address() -> None:
    loopback = ipaddress.ip_address("127.0.0.1")
    private = ipaddress.ip_address("10.0.0.1")
    metadata = ipaddress.ip_address("169.254.169.254")
    own = Destination("http://h/", allow_loopback=True)
    inside = Destination("http://h/", allow_private=True)
    check_address(loopback, own)
    check_address(private, inside)
    check_address(ipaddress.ip_address("8.8.8.8"), Destination("http://h/"))
    for address, place in ((private, own), (loopback, inside), (metadata, inside)):
        with pytest.raises(AddressRefused):
            check_address(address, place)


@pytest.mark.parametrize("addresses", [None, []])
def test_a_name_without_address_is_a_failure(addresses: list[str] | None) -> None:
    with pytest.raises(NameUnresolved):
        _dial("http://ocsp.example.org/", addresses=addresses)


def test_a_resolver_that_never_answers_ends_at_the_deadline() -> None:
    release = threading.Event()

    def resolver(host: str, port: int) -> list[str]:
        release.wait(5)
        return []

    egress = Egress({"ocsp": (Destination("http://slow.example/"),)}, resolver=resolver)
    started = time.monotonic()
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
    assert time.monotonic() - started < 2
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
    connection.sendall(first)
    for _ in range(100):
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
            time.sleep(1)

    started = time.monotonic()
    with listener(serve) as port:
        with pytest.raises(DeadlineExceeded):
            post(port, seconds=0.4)
        assert time.monotonic() - started < 0.9


def test_a_tls_handshake_that_trickles_ends_at_the_deadline() -> None:
    started = time.monotonic()
    with (
        listener(lambda connection: _trickle(connection, b"\x16\x03\x03\x3f\xff")) as port,
        pytest.raises(DeadlineExceeded),
    ):
        post(port, seconds=0.4, scheme="https")
    assert time.monotonic() - started < 2


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


def test_the_default_port_is_left_out_of_the_host() -> None:
    assert Destination("http://[2001:db8::1]/x").covers("http://[2001:db8::1]:80/x/y")
    assert not Destination("http://[2001:db8::1]/x").covers("http://[2001:db8::1]:81/x")


def test_the_system_resolves_a_literal_address() -> None:
    assert system_resolver("127.0.0.1", 80) == ["127.0.0.1"]


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


@given(st.text(max_size=80))
def test_random_urls_are_refused_by_type(url: str) -> None:
    with pytest.raises(DestinationNotRegistered):
        _dial(url, registered="http://registered.example/ocsp")


@given(st.ip_addresses())
def test_every_address_is_judged(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    try:
        check_address(address, Destination("http://h/"))
    except AddressRefused:
        return
    assert address.is_global or isinstance(address, ipaddress.IPv6Address)
