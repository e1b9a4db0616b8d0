"""The backup's manifest: one form, and nothing that leads out of its folder."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapi.backup.errors import BackupManifestMalformed
from webapi.backup.manifest import (
    MAX_MANIFEST_BYTES,
    AuditRecord,
    BackupManifest,
    DatabaseRecord,
    FileRecord,
    LogRecord,
)
from webapi.storage.realm import Realm

DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
IDS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
COUNTS = st.integers(min_value=0, max_value=2**63 - 1)


@st.composite
def manifests(draw: st.DrawFn) -> BackupManifest:
    ids = sorted(draw(st.sets(IDS, max_size=5)))
    logs = []
    for log_id in ids:
        size = draw(st.integers(min_value=0, max_value=2**62))
        name = f"checkpoints/ballots/{log_id}" if draw(st.booleans()) else ""
        origin = draw(st.sampled_from(["a.example/", "сонгууль.мн/"])) + log_id
        root = draw(DIGESTS) if size else ""
        logs.append(LogRecord(log_id, origin, size, root, draw(st.booleans()), name))
    engine = draw(st.sampled_from(["sqlite", "postgresql"]))
    databases = {realm: DatabaseRecord(f"{realm}.copy", engine, f"{realm}_0001") for realm in Realm}
    audit = {
        realm: AuditRecord(
            7, draw(DIGESTS), f"checkpoints/audit/{realm}", f"policies/audit/{realm}"
        )
        if draw(st.booleans())
        else AuditRecord(0, "", "", "")
        for realm in Realm
    }
    names = {n for log in audit.values() for n in (log.checkpoint, log.policy)} - {""}
    names |= {d.file for d in databases.values()} | {log.checkpoint for log in logs} - {""}
    return BackupManifest(
        origin="https://tamga.example.mn:8443",
        service="0.1.0",
        made_in_slot=draw(COUNTS),
        databases=databases,
        logs=tuple(logs),
        audit=audit,
        files=tuple(FileRecord(name, draw(COUNTS), draw(DIGESTS)) for name in sorted(names)),
    )


@given(manifests())
def test_what_is_written_is_read(manifest: BackupManifest) -> None:
    data = manifest.serialise()
    assert BackupManifest.parse(data) == manifest
    assert BackupManifest.parse(data).serialise() == data


@given(manifests(), st.data())
def test_no_other_bytes_are_the_same_manifest(
    manifest: BackupManifest, data: st.DataObject
) -> None:
    written = manifest.serialise()
    place = data.draw(st.integers(min_value=0, max_value=len(written) - 1))
    value = data.draw(st.integers(min_value=0, max_value=255).filter(lambda v: v != written[place]))
    changed = written[:place] + bytes([value]) + written[place + 1 :]
    try:
        parsed = BackupManifest.parse(changed)
    except BackupManifestMalformed:
        return
    assert parsed != manifest


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(BackupManifestMalformed):
        BackupManifest.parse(data)


def members(**changes: object) -> bytes:
    digest = "ab" * 32
    whole: dict[str, Any] = {
        "audit": {
            str(realm): {"checkpoint": "", "policy": "", "root": "", "size": "0"} for realm in Realm
        },
        "databases": {
            str(realm): {"engine": "sqlite", "file": f"{realm}.sqlite3", "version": "1"}
            for realm in Realm
        },
        "files": [
            {"length": 1, "name": f"{realm}.sqlite3", "sha256": digest} for realm in sorted(Realm)
        ],
        "format": "tamga.backup/1",
        "logs": [
            {
                "checkpoint": "",
                "finished": False,
                "log_id": "trial",
                "origin": "a/trial",
                "root": digest,
                "size": "7",
            }
        ],
        "made_in_slot": 1,
        "origin": "https://a",
        "service": "1",
    }
    whole.update(changes)
    return (json.dumps(whole, indent=1, sort_keys=True) + "\n").encode()


LOG = json.loads(members())["logs"][0]
FILES = json.loads(members())["files"]
AUDIT = json.loads(members())["audit"]
DATABASES = json.loads(members())["databases"]


def test_the_pattern_of_the_refusals_is_a_manifest() -> None:
    assert BackupManifest.parse(members()).logs[0].size == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "tamga.backup/2"},
        {"more": 1},
        {"made_in_slot": -1},
        {"made_in_slot": True},
        {"made_in_slot": 2**63},
        {"made_in_slot": "1"},
        {"origin": ""},
        {"origin": "a b"},
        {"service": 1},
        {"audit": {}},
        {"audit": {**AUDIT, "pki": {**AUDIT["pki"], "size": "1"}}},
        {"audit": {**AUDIT, "pki": {**AUDIT["pki"], "policy": "missing"}}},
        {"audit": {**AUDIT, "pki": {"size": "0"}}},
        {"databases": {}},
        {"databases": []},
        {"databases": {**DATABASES, "more": DATABASES["pki"]}},
        {"databases": {**DATABASES, "pki": {**DATABASES["pki"], "engine": "other"}}},
        {"databases": {**DATABASES, "pki": {**DATABASES["pki"], "file": "missing"}}},
        {"databases": {**DATABASES, "pki": {"engine": "sqlite"}}},
        {"files": FILES[::-1]},
        {"files": [*FILES, FILES[-1]]},
        {"files": FILES[1:]},
        *({"files": [*FILES, {**FILES[0], "name": name}]} for name in ("../x", "/x", "x/../y", "")),
        *({"files": [*FILES, {**FILES[0], "name": name}]} for name in ("z/.y", "z//y", "Z", "z\n")),
        {"files": [{**FILES[0], "length": -1}, *FILES[1:]]},
        {"files": [{**FILES[0], "sha256": "AB" * 32}, *FILES[1:]]},
        {"logs": [LOG, LOG]},
        {"logs": [{**LOG, "log_id": "../trial"}]},
        {"logs": [{**LOG, "log_id": 7}]},
        {"logs": [{**LOG, "finished": 0}]},
        {"logs": [{**LOG, "root": ""}]},
        {"logs": [{**LOG, "root": "ab"}]},
        {"logs": [{**LOG, "size": "0"}]},
        {"logs": [{**LOG, "size": "07"}]},
        {"logs": [{**LOG, "size": 7}]},
        {"logs": [{**LOG, "origin": "a b"}]},
        {"logs": [{**LOG, "checkpoint": "missing"}]},
        {"logs": [[]]},
        {"logs": {}},
        {"logs": None},
    ],
)
def test_what_is_no_manifest(changes: dict[str, object]) -> None:
    with pytest.raises(BackupManifestMalformed):
        BackupManifest.parse(members(**changes))


def test_a_manifest_has_a_longest_form_and_one_layout() -> None:
    with pytest.raises(BackupManifestMalformed, match="too long"):
        BackupManifest.parse(bytes(MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BackupManifestMalformed, match="one form"):
        BackupManifest.parse(members().replace(b"\n ", b"\n  "))
