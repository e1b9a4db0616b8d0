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
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from urllib.parse import SplitResult, unquote, urlsplit

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

_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Destination:
    """A place that one purpose may post to.

    Attributes:
        url: scheme, host, port and path; requests may go to this path or below it.
        allow_loopback: its address may be this machine (development, tests).
        allow_private: its address may be in a private network (an operator's own responder).
    """

    url: str
    allow_loopback: bool = False
    allow_private: bool = False
    parts: tuple[str, str, int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            scheme, host, port, path, query = _split(self.url)
        except DestinationNotRegistered as e:
            raise ConfigurationInvalid(f"{self.url!r} cannot be a destination: {e}") from e
        if query:
            raise ConfigurationInvalid(f"{self.url!r}: a destination has no query")
        object.__setattr__(self, "parts", (scheme, host, port, path))

    def covers(self, unverified_url: str) -> bool:
        """Same scheme, host and port, and this path or one below it."""
        scheme, host, port, path, _ = _split(unverified_url)
        own = self.parts
        below = path == own[3] or path.startswith(own[3].rstrip("/") + "/")
        return (scheme, host, port) == own[:3] and below


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back: any status but a redirect.

    Attributes:
        status: HTTP status.
        content_type: media type in lower case without parameters, "" if absent.
        body: at most the caller's cap.
    """

    status: int
    content_type: str
    body: bytes


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


def system_resolver(host: str, port: int) -> list[str]:
    """All addresses of a host name, as the operating system has them; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """Posts to registered destinations only."""

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
        deadline = _Deadline(self._stopwatch, timeout.total_seconds())
        destination = self._destination(purpose, url)
        scheme, host, port, path, query = _split(url)
        address = self._address(destination, host, port, deadline)
        headers = {
            "Host": _host_header(scheme, host, port),
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Accept": accept,
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "tamga",
        }
        request = _Request(path + (f"?{query}" if query else ""), body, headers)
        try:
            with self._opened(scheme, host, address, port, deadline) as opened:
                answer = _exchange(opened, request, max_bytes)
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
        raise DestinationNotRegistered(f"{purpose} may not post to {url[:200]!r}")

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


def check_address(address: Address, destination: Destination) -> None:
    """Refuse an address that the destination does not allow.

    Raises:
        AddressRefused: loopback or private without leave; link-local, multicast, reserved,
            unspecified or tunnelling addresses always.
    """
    plain = _unwrapped(address)
    if plain.is_loopback:
        if not destination.allow_loopback:
            raise AddressRefused(f"{address} is this machine")
        return
    never = plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain.is_reserved
    if never or _is_tunnel(plain):
        raise AddressRefused(f"{address} is no place to post to")
    if not plain.is_global and not destination.allow_private:
        raise AddressRefused(f"{address} is in a private network")


def _unwrapped(address: Address) -> Address:
    """The IPv4 address inside a mapped (RFC 4291) or NAT64 (RFC 6052) IPv6 address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_tunnel(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and (
        address.sixtofour is not None or address.teredo is not None
    )


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


def _split(unverified_url: str) -> tuple[str, str, int, str, str]:
    """Scheme, host, port, path and query of a URL that holds nothing else."""
    if not unverified_url.isascii() or not unverified_url.isprintable() or " " in unverified_url:
        raise DestinationNotRegistered("the URL has a character that no URL has")
    try:
        parts: SplitResult = urlsplit(unverified_url)
        port = parts.port
    except ValueError as e:
        raise DestinationNotRegistered("not a URL") from e
    if parts.scheme not in _PORTS or not parts.hostname:
        raise DestinationNotRegistered("not an http or https URL")
    if "@" in parts.netloc or "#" in unverified_url or "\\" in unverified_url:
        raise DestinationNotRegistered("user information, fragment or backslash in the URL")
    path = parts.path or "/"
    if {".", ".."} & set(unquote(path).split("/")):
        raise DestinationNotRegistered("the path has dot segments")
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path, parts.query


def _host_header(scheme: str, host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == _PORTS[scheme] else f"{name}:{port}"


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
    target: str
    body: bytes
    headers: Mapping[str, str]


def _exchange(opened: socket.socket, request: _Request, max_bytes: int) -> HttpAnswer:
    # The host only fills in a Host header, which is given; the socket is already connected.
    connection = http.client.HTTPConnection("given")
    connection.sock = opened
    connection.request("POST", request.target, body=request.body, headers=request.headers)
    response = connection.getresponse()
    try:
        if 300 <= response.status < 400:
            raise RedirectRefused(f"status {response.status}")
        content = response.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise BodyTooLarge(f"more than {max_bytes} bytes")
        if response.length:
            raise ConnectionFailed("the body ended early")
    finally:
        response.close()
    media_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return HttpAnswer(response.status, media_type, content)


def _shut(opened: socket.socket) -> None:
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The exchange ended in this very moment.
        return
