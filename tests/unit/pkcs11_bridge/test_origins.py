"""The file of pinned origins: refusals first."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge.agent.errors import OriginInvalid, OriginNotConfirmed, OriginsFileInvalid
from pkcs11_bridge.agent.origins import (
    OriginPins,
    PinnedOrigins,
    checked_origin,
    origins_document,
)

ORIGIN = "https://login.example.mn"
CURRENT = ec.generate_private_key(ec.SECP256R1()).public_key()
NEXT = ec.generate_private_key(ec.SECP256R1()).public_key()


def spki(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> str:
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


GOOD_ENTRY = {"current": spki(CURRENT), "next": None}


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "http://login.example.mn",
        "wss://login.example.mn",
        "https://",
        "https://login.example.mn/",
        "https://login.example.mn/path",
        "https://login.example.mn?q",
        "https://login.example.mn#f",
        "https://user@login.example.mn",
        "https://Login.example.mn",
        "https://login.example.mn:443",
        "https://login.example.mn:0",
        "https://login.example.mn:65536",
        "https://login.example.mn:08443",
        "https://login.example.mn.",
        "https://-login.mn",
        "https://тамга.mn",
        "https://login.example.mn\n",
        "https://a b.mn",
        "https://" + "a" * 248,
        "null",
    ],
)
def test_text_that_is_no_origin(origin: str) -> None:
    with pytest.raises(OriginInvalid):
        checked_origin(origin)


@pytest.mark.parametrize(
    "origin",
    [
        ORIGIN,
        "https://localhost:8443",
        "https://[::1]:8443",
        "https://xn--80aa.mn",
        "https://a.mn:1",
    ],
)
def test_origins_as_browsers_write_them(origin: str) -> None:
    assert checked_origin(origin) == origin


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"origins": {}},
        {"origins": []},
        {"origins": {ORIGIN: GOOD_ENTRY}, "version": 1},
        {"origins": {"http://a.mn": GOOD_ENTRY}},
        {"origins": {ORIGIN: None}},
        {"origins": {ORIGIN: {"current": spki(CURRENT)}}},
        {"origins": {ORIGIN: {**GOOD_ENTRY, "more": 1}}},
        {"origins": {ORIGIN: {"current": None, "next": None}}},
        {"origins": {ORIGIN: {"current": "%%%", "next": None}}},
        {"origins": {ORIGIN: {"current": "AAAA", "next": None}}},
        {"origins": {ORIGIN: {"current": spki(CURRENT), "next": 7}}},
        {
            "origins": {
                ORIGIN: {
                    "current": spki(ed25519.Ed25519PrivateKey.generate().public_key()),
                    "next": None,
                }
            }
        },
        {
            "origins": {
                ORIGIN: {
                    "current": spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
                    "next": None,
                }
            }
        },
    ],
)
def test_documents_of_another_form(document: Any) -> None:
    with pytest.raises(OriginsFileInvalid):
        PinnedOrigins.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"{",
        b"[" * 100_000,
        b'{"origins": {}, "origins": {}}',
        b" " * 1_000_001,
    ],
)
def test_bytes_that_are_no_document(content: bytes) -> None:
    with pytest.raises(OriginsFileInvalid):
        PinnedOrigins.parse(content)


def test_file_that_cannot_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "origins.json"
    with pytest.raises(OriginsFileInvalid):
        PinnedOrigins.load(path)
    with pytest.raises(OriginsFileInvalid):
        PinnedOrigins.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OriginsFileInvalid):
        PinnedOrigins.load(tmp_path / "pipe")
    path.write_text(origins_document({ORIGIN: OriginPins(CURRENT, None)}))
    for mode in (0o646, 0o664):
        path.chmod(mode)
        with pytest.raises(OriginsFileInvalid, match="changed by others"):
            PinnedOrigins.load(path)
    path.chmod(0o644)
    assert PinnedOrigins.load(path).of(ORIGIN).keys == (CURRENT,)
    os.chown(path, 12345, -1)
    with pytest.raises(OriginsFileInvalid):
        PinnedOrigins.load(path)


def test_unknown_origins_are_not_confirmed() -> None:
    origins = PinnedOrigins({ORIGIN: OriginPins(CURRENT, None)})
    for origin in ("https://other.mn", ORIGIN + ":8443", ORIGIN.upper()):
        with pytest.raises(OriginNotConfirmed) as caught:
            origins.of(origin)
        assert caught.value.origin == origin


def test_no_document_for_what_is_no_origin() -> None:
    with pytest.raises(OriginInvalid):
        origins_document({"http://a.mn": OriginPins(CURRENT, None)})


def test_what_is_written_is_read() -> None:
    pins = {ORIGIN: OriginPins(CURRENT, NEXT), "https://localhost:8443": OriginPins(NEXT, None)}
    read = PinnedOrigins.parse(origins_document(pins).encode())
    assert read.pins == pins
    assert read.of(ORIGIN).keys == (CURRENT, NEXT)
    assert all(len(fingerprint) == 64 for fingerprint in read.of(ORIGIN).fingerprints)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with pytest.raises(OriginsFileInvalid):
        PinnedOrigins.parse(content)
