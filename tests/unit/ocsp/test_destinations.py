"""What never leaves: places that are not registered, addresses that are not allowed."""

import ipaddress
import socket
import ssl
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp.destination import Destination, check_address
from ocsp.errors import (
    AddressRefused,
    ConfigurationInvalid,
    DestinationNotRegistered,
    NameUnresolved,
)
from ocsp.transport import Egress, system_resolver


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
        "fec0::1",
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


def test_the_default_port_is_left_out_of_the_host() -> None:
    assert Destination("http://[2001:db8::1]/x").covers("http://[2001:db8::1]:80/x/y")
    assert not Destination("http://[2001:db8::1]/x").covers("http://[2001:db8::1]:81/x")


def test_the_system_resolves_a_literal_address() -> None:
    assert system_resolver("127.0.0.1", 80) == ["127.0.0.1"]


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
