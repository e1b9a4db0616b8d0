"""Places that outgoing HTTP may go to: registered by URL, judged by address.

Pure: no name is resolved here and no socket opened; `ocsp.transport` does both.
"""

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from ocsp.errors import AddressRefused, ConfigurationInvalid, DestinationNotRegistered

PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
            scheme, host, port, path, query = split_url(self.url)
        except DestinationNotRegistered as e:
            raise ConfigurationInvalid(f"{self.url!r} cannot be a destination: {e}") from e
        if query:
            raise ConfigurationInvalid(f"{self.url!r}: a destination has no query")
        object.__setattr__(self, "parts", (scheme, host, port, path))

    def covers(self, unverified_url: str) -> bool:
        """Same scheme, host and port, and this path or one below it."""
        scheme, host, port, path, _ = split_url(unverified_url)
        own = self.parts
        below = path == own[3] or path.startswith(own[3].rstrip("/") + "/")
        return (scheme, host, port) == own[:3] and below


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
    # fec0::/10 is deprecated (RFC 3879), and to `ipaddress` global.
    site_local = isinstance(plain, ipaddress.IPv6Address) and plain.is_site_local
    if (site_local or not plain.is_global) and not destination.allow_private:
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


def split_url(unverified_url: str) -> tuple[str, str, int, str, str]:
    """Scheme, host, port, path and query of a URL that holds nothing else."""
    if not unverified_url.isascii() or not unverified_url.isprintable() or " " in unverified_url:
        raise DestinationNotRegistered("the URL has a character that no URL has")
    try:
        parts: SplitResult = urlsplit(unverified_url)
        port = parts.port
    except ValueError as e:
        raise DestinationNotRegistered("not a URL") from e
    if parts.scheme not in PORTS or not parts.hostname:
        raise DestinationNotRegistered("not an http or https URL")
    if "@" in parts.netloc or "#" in unverified_url or "\\" in unverified_url:
        raise DestinationNotRegistered("user information, fragment or backslash in the URL")
    path = parts.path or "/"
    if {".", ".."} & set(unquote(path).split("/")):
        raise DestinationNotRegistered("the path has dot segments")
    return parts.scheme, parts.hostname, port or PORTS[parts.scheme], path, parts.query
