"""The one file through which outgoing HTTP leaves.

Every caller names a purpose; a purpose has registered destinations and nothing else is dialled.
The host name is resolved here, its address judged, and that very address connected to, so that no
second resolution can lead elsewhere. No redirects, no proxies, no environment, no credentials; one
deadline for the whole exchange and a cap on the body as it streams in.
"""

import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from ocsp.destination import PORTS, Address, Destination, check_address, split_url
from ocsp.errors import (
    BodyTooLarge,
    ConfigurationInvalid,
    ConnectionFailed,
    DeadlineExceeded,
    DestinationNotRegistered,
    NameUnresolved,
    RedirectRefused,
)

Resolver = Callable[[str, int], list[str]]

MAX_HEADER_VALUE = 256
"""Longer values of an answer's headers count as absent."""

_EVERY_REQUEST = {
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "tamga",
}


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back: any status but a redirect.

    Attributes:
        status: HTTP status; 304 only where the request named a version.
        content_type: media type in lower case without parameters, "" if absent.
        body: at most the caller's cap.
        etag: as it came, for the next request's If-None-Match; "" if absent or too long.
        last_modified: likewise, for If-Modified-Since.
    """

    status: int
    content_type: str
    body: bytes
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """What the caller has already, from an earlier `HttpAnswer` (RFC 9110 section 13.1).

    Attributes:
        etag: "" if it had none.
        last_modified: "" if it had none.
    """

    etag: str = ""
    last_modified: str = ""


class Poster(Protocol):
    """What a caller of outgoing HTTP needs; `Egress` is the real one."""

    def post(
        self,
        purpose: str,
        url: str,
        body: bytes,
        *,
        content_type: str,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
    ) -> HttpAnswer:
        """Post a body and return the answer; raises TransportRefused or TransportFailed."""
        ...


class Getter(Protocol):
    """Likewise, for what is fetched; `Egress` is the real one."""

    def get(
        self,
        purpose: str,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
        known: KnownVersion | None = None,
    ) -> HttpAnswer:
        """Fetch and return the answer; raises TransportRefused or TransportFailed."""
        ...


class HttpClient(Poster, Getter, Protocol):
    """Both ways of asking; `Egress` is the real one."""


def system_resolver(host: str, port: int) -> list[str]:
    """All addresses of a host name, as the operating system has them; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """Posts to, and fetches from, registered destinations only."""

    def __init__(
        self,
        registered: Mapping[str, tuple[Destination, ...]],
        *,
        resolver: Resolver = system_resolver,
        tls: ssl.SSLContext | None = None,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """Remember who may be dialled.

        Args:
            registered: purpose to destinations.
            resolver: host and port to addresses in text.
            tls: trust for https; None is the operating system's store, always verified.
            stopwatch: monotonic seconds.
        """
        self._registered = {purpose: tuple(places) for purpose, places in registered.items()}
        self._resolver = resolver
        self._tls = tls or ssl.create_default_context()
        if self._tls.verify_mode is not ssl.CERT_REQUIRED or not self._tls.check_hostname:
            raise ConfigurationInvalid("outgoing https without verification")
        self._stopwatch = stopwatch

    def post(
        self,
        purpose: str,
        url: str,
        body: bytes,
        *,
        content_type: str,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
    ) -> HttpAnswer:
        """Post a body with a fixed Content-Length and read the answer.

        Args:
            purpose: under which the URL is registered.
            url: http or https, without user information or fragment.
            body: sent as it is; never chunked, which some responders refuse.
            content_type: of the body.
            accept: media type that is wanted.
            max_bytes: cap of the answer's body.
            timeout: for everything, from the resolution to the last byte.

        Raises:
            DestinationNotRegistered, AddressRefused, RedirectRefused, BodyTooLarge: refused.
            DeadlineExceeded, NameUnresolved, ConnectionFailed: no answer.
        """
        headers = {"Content-Type": content_type, "Content-Length": str(len(body)), "Accept": accept}
        return self._send(purpose, url, _Request("POST", body, headers, max_bytes), timeout)

    def get(
        self,
        purpose: str,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
        known: KnownVersion | None = None,
    ) -> HttpAnswer:
        """Fetch; only if it changed, where a known version is given.

        Args:
            purpose: under which the URL is registered.
            url: http or https, without user information or fragment.
            accept: media type that is wanted.
            max_bytes: cap of the answer's body.
            timeout: for everything, from the resolution to the last byte.
            known: what need not be sent again; the answer's status is then 304.

        Raises:
            DestinationNotRegistered, AddressRefused, RedirectRefused, BodyTooLarge: refused.
            DeadlineExceeded, NameUnresolved, ConnectionFailed: no answer.
        """
        headers = {"Accept": accept}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        return self._send(purpose, url, _Request("GET", None, headers, max_bytes), timeout)

    def _send(self, purpose: str, url: str, request: "_Request", timeout: timedelta) -> HttpAnswer:
        deadline = _Deadline(self._stopwatch, timeout.total_seconds())
        destination = self._destination(purpose, url)
        scheme, host, port, path, query = split_url(url)
        address = self._address(destination, host, port, deadline)
        target = path + (f"?{query}" if query else "")
        request.headers["Host"] = _host_header(scheme, host, port)
        try:
            with self._opened(scheme, host, address, port, deadline) as opened:
                answer = _exchange(opened, target, request)
        except (OSError, http.client.HTTPException, ValueError) as e:
            if deadline.passed():
                raise DeadlineExceeded(f"no whole answer within {timeout}") from e
            raise ConnectionFailed(f"{type(e).__name__} while talking to {host}") from e
        if deadline.passed():
            # A body without Content-Length ends where the watchdog cut it.
            raise DeadlineExceeded(f"no whole answer within {timeout}")
        return answer

    def _destination(self, purpose: str, url: str) -> Destination:
        for destination in self._registered.get(purpose, ()):
            if destination.covers(url):
                return destination
        raise DestinationNotRegistered(f"{purpose} may not ask {url[:200]!r}")

    def _address(
        self, destination: Destination, host: str, port: int, deadline: "_Deadline"
    ) -> Address:
        try:
            literal = [str(ipaddress.ip_address(host))]
        except ValueError:
            literal = _resolve(self._resolver, host, port, deadline)
        if not literal:
            raise NameUnresolved(f"{host} has no address")
        addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in literal]
        for address in addresses:
            # One bad address among good ones is a rebinding attempt or an error: refuse all.
            check_address(address, destination)
        return addresses[0]

    @contextmanager
    def _opened(
        self, scheme: str, host: str, address: Address, port: int, deadline: "_Deadline"
    ) -> Iterator[socket.socket]:
        """A connected socket that is cut off at the deadline, whatever it is doing then."""
        # A socket's timeout starts anew with every byte that trickles in; the watchdog's does not.
        # TLS takes the descriptor over, so the watchdog holds a duplicate of it.
        with (
            socket.create_connection((str(address), port), timeout=deadline.left()) as plain,
            plain.dup() as handle,
        ):
            watchdog = threading.Timer(deadline.left(), _shut, args=(handle,))
            watchdog.daemon = True
            watchdog.start()
            try:
                if scheme == "http":
                    yield plain
                else:
                    with self._tls.wrap_socket(plain, server_hostname=host) as secured:
                        yield secured
            finally:
                watchdog.cancel()
                watchdog.join()


class _Deadline:
    """Seconds left of one exchange."""

    def __init__(self, stopwatch: Callable[[], float], seconds: float) -> None:
        self._stopwatch = stopwatch
        self._end = stopwatch() + seconds

    def left(self) -> float:
        seconds = self._end - self._stopwatch()
        if seconds <= 0:
            raise DeadlineExceeded("the time was up")
        return seconds

    def passed(self) -> bool:
        return self._stopwatch() >= self._end


def _host_header(scheme: str, host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == PORTS[scheme] else f"{name}:{port}"


def _resolve(resolver: Resolver, host: str, port: int, deadline: _Deadline) -> list[str]:
    """Resolve in a thread of its own: the system's resolver knows no deadline."""
    found: queue.Queue[list[str] | OSError | UnicodeError] = queue.Queue(1)

    def run() -> None:
        try:
            found.put(resolver(host, port))
        except (OSError, UnicodeError) as e:
            found.put(e)

    threading.Thread(target=run, name=f"resolve {host}", daemon=True).start()
    try:
        result = found.get(timeout=deadline.left())
    except queue.Empty as e:
        raise DeadlineExceeded(f"{host} was not resolved in time") from e
    if isinstance(result, OSError | UnicodeError):
        raise NameUnresolved(f"{host} cannot be resolved") from result
    return result


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    body: bytes | None
    headers: dict[str, str]
    max_bytes: int


def _exchange(opened: socket.socket, target: str, request: _Request) -> HttpAnswer:
    # The host only fills in a Host header, which is given; the socket is already connected.
    connection = http.client.HTTPConnection("given")
    connection.sock = opened
    headers = request.headers | _EVERY_REQUEST
    connection.request(request.method, target, body=request.body, headers=headers)
    response = connection.getresponse()
    try:
        if 300 <= response.status < 400 and not _says_unchanged(request, response.status):
            raise RedirectRefused(f"status {response.status}")
        content = response.read(request.max_bytes + 1)
        if len(content) > request.max_bytes:
            raise BodyTooLarge(f"more than {request.max_bytes} bytes")
        if response.length:
            raise ConnectionFailed("the body ended early")
    finally:
        response.close()
    media_type = _header(response, "Content-Type").partition(";")[0].strip().lower()
    return HttpAnswer(
        response.status,
        media_type,
        content,
        _header(response, "ETag"),
        _header(response, "Last-Modified"),
    )


def _says_unchanged(request: _Request, status: int) -> bool:
    return status == 304 and not {"If-None-Match", "If-Modified-Since"}.isdisjoint(request.headers)


def _header(response: http.client.HTTPResponse, name: str) -> str:
    """A header's value, "" where there is none or none that could be sent back."""
    value = response.headers.get(name) or ""
    return value if len(value) <= MAX_HEADER_VALUE and value.isprintable() else ""


def _shut(opened: socket.socket) -> None:
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The exchange ended in this very moment.
        return
