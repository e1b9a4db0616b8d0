"""Signature encodings."""

import hashlib

import pytest
from asn1crypto.algos import DigestInfo
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge.encoding import HashName, check_digest, der_to_raw, digest_info, raw_to_der


@pytest.mark.parametrize("raw", [b"", b"1", b"123"])
def test_raw_of_odd_length(raw: bytes) -> None:
    with pytest.raises(ValueError, match="even"):
        raw_to_der(raw)


@pytest.mark.parametrize(
    "der",
    [
        "",
        "3000",
        "30060201010201",
        "3006020101020101ff",  # trailing byte
        "300602010102020001",  # length and number do not fit
        "3006020181020101",  # negative r
        "30080203010000020101",  # r of 17 bits for a size of 2
    ],
)
def test_der_that_is_no_signature_of_that_size(der: str) -> None:
    with pytest.raises(ValueError):
        der_to_raw(bytes.fromhex(der), 2)


@given(st.binary(min_size=64, max_size=64))
def test_raw_and_der_are_inverse(raw: bytes) -> None:
    assert der_to_raw(raw_to_der(raw), 32) == raw


@given(st.binary(max_size=80))
def test_any_der_is_read_or_refused(der: bytes) -> None:
    try:
        raw = der_to_raw(der, 32)
    except ValueError:
        return
    assert len(raw) == 64


@pytest.mark.parametrize(
    ("name", "size"), [("sha256", 31), ("sha256", 48), ("sha384", 32), ("sha512", 0)]
)
def test_digest_of_the_wrong_length(name: HashName, size: int) -> None:
    with pytest.raises(ValueError, match="digest has"):
        check_digest(name, bytes(size))


def test_unknown_hash() -> None:
    with pytest.raises(ValueError, match="the hash is"):
        digest_info("sha1", bytes(20))  # type: ignore[arg-type]  # the very mistake


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_digest_info_is_what_another_library_reads(name: HashName) -> None:
    digest = hashlib.new(name, b"text").digest()
    read = DigestInfo.load(digest_info(name, digest), strict=True)
    assert read["digest_algorithm"]["algorithm"].native == name
    assert read["digest"].native == digest
