"""The manifest, to the byte."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from signer.receipts.election import Manifest, decode_key, draw_up_manifest
from signer.receipts.errors import (
    KeyMalformed,
    ManifestMalformed,
)
from tests.support.receipts import DOMAIN, ELECTION, NOW, TrialElection, public_keys

TRIAL = TrialElection()
MANIFEST = TRIAL.manifest()


def test_the_manifest_is_as_documented() -> None:
    members = json.loads(MANIFEST.serialise())
    assert list(members) == [
        "closes_at",
        "election_id",
        "election_system_key",
        "format",
        "log_keys",
        "no_vote_proof",
        "opens_at",
        "origin",
        "policy_sha256",
        "title",
    ]
    assert members["opens_at"] == "2026-11-21T08:30:17Z"
    assert members["origin"] == f"{DOMAIN}/{ELECTION}"
    assert members["policy_sha256"] == hashlib.sha256(MANIFEST.policy()).hexdigest()
    assert "Туршилтын".encode() in MANIFEST.serialise()
    assert MANIFEST.genesis().manifest_sha256 == hashlib.sha256(MANIFEST.serialise()).digest()


def test_the_manifest_round_trips() -> None:
    assert Manifest.parse(MANIFEST.serialise()) == MANIFEST


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "format": lambda m: m.update(format="mn.manifest/2"),
    "missing": lambda m: m.pop("title"),
    "unknown": lambda m: m.update(more=1),
    "time with offset": lambda m: m.update(opens_at="2026-11-21T08:30:17+00:00"),
    "window": lambda m: m.update(closes_at=m["opens_at"]),
    "key": lambda m: m.update(election_system_key="AA=="),
    "flag": lambda m: m.update(no_vote_proof=1),
    "keys": lambda m: m.update(log_keys=[]),
    "key list": lambda m: m["log_keys"].update(current=5),
    "no ecdsa": lambda m: m["log_keys"].update(current=m["log_keys"]["current"][1:]),
    "twice": lambda m: m["log_keys"].update(standby=m["log_keys"]["current"]),
    "another origin": lambda m: m.update(origin="elsewhere/" + ELECTION),
    "policy": lambda m: m.update(policy_sha256="00" * 32),
    "title": lambda m: m.update(title=5),
    "empty title": lambda m: m.update(title=""),
    "title not NFC": lambda m: m.update(title="e\u0301"),
    "title with control": lambda m: m.update(title="a\u0007"),
    "title too long": lambda m: m.update(title="a" * 201),
    "unknown key kind": lambda m: m["log_keys"].update(more=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_malformed_manifests(change: str) -> None:
    members = json.loads(MANIFEST.serialise())
    CHANGES[change](members)
    data = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    with pytest.raises(ManifestMalformed):
        Manifest.parse(data.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        MANIFEST.serialise() + b" ",
        MANIFEST.serialise().replace(b'"format"', b'"format":"mn.manifest/1","format"'),
        b'{"a":NaN}',
        b'{"a":1.5}',
        b"[" * 100_000,
        bytes(65_537),
        json.dumps(json.loads(MANIFEST.serialise()), sort_keys=True).encode(),
    ],
)
def test_bytes_that_are_not_the_one_form(data: bytes) -> None:
    with pytest.raises(ManifestMalformed):
        Manifest.parse(data)


def drawn_up(**changes: Any) -> Manifest:
    arguments: dict[str, Any] = {
        "election_id": ELECTION,
        "title": "Trial",
        "domain": DOMAIN,
        "opens_at": NOW,
        "closes_at": NOW + timedelta(days=1),
        "election_system_key": TRIAL.system_key.public_key(),
        "current_keys": public_keys(TRIAL.signer),
        "standby_keys": [],
        "no_vote_proof": False,
    }
    return draw_up_manifest(**{**arguments, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"election_id": "Upper"},
        {"election_id": "a/b"},
        {"domain": ""},
        {"domain": "a b"},
        {"opens_at": NOW.replace(microsecond=1)},
        {"opens_at": NOW.replace(tzinfo=None)},
        {"current_keys": []},
        {"election_system_key": ec.generate_private_key(ec.SECP384R1()).public_key()},
    ],
)
def test_manifests_that_are_not_drawn_up(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestMalformed):
        drawn_up(**changes)


def test_origins_that_are_not_names() -> None:
    with pytest.raises(ManifestMalformed, match="origin"):
        replace(MANIFEST, origin="a b/" + ELECTION)


def test_a_manifest_without_standby_keys() -> None:
    manifest = drawn_up()
    assert Manifest.parse(manifest.serialise()).standby_keys == ()


@pytest.mark.parametrize("text", ["", "!", "AA=="])
def test_texts_that_are_no_key(text: str) -> None:
    with pytest.raises(KeyMalformed):
        decode_key(text)


def test_a_key_of_another_kind() -> None:
    der = base64.b64decode(str(MANIFEST.current_keys[1]).split("+", 2)[2])[1:]
    spki = bytes.fromhex("302a300506032b6570032100") + der
    with pytest.raises(KeyMalformed, match="elliptic"):
        decode_key(base64.b64encode(spki).decode())
