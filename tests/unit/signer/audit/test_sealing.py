"""An audit log's seals: crashes, restored databases, lost folders, other keys."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import delete

from signer.audit.errors import AuditKeyMalformed, AuditKeyUnknown
from signer.audit.sealing import pinned_keys
from signer.payload import Purpose
from signer.receipts.errors import (
    CheckpointFileMissing,
    DatabaseBehind,
    FenceLost,
    KeysChanged,
    LogForked,
)
from signer.receipts.growth import Step
from signer.receipts.sequencer import Sequenced
from tests.support.audit_trail import AuditTrail, audit_backend, owner_of
from tests.support.databases import Database
from tests.support.receipts import NOW
from webapi.storage.audit import audit_checkpoints, audit_entries
from webapi.storage.realm import Realm


@pytest.fixture(params=Realm)
def trail(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> AuditTrail:
    made = AuditTrail(
        database.engine(request.param),
        request.param,
        tmp_path / "audit",
        owner=owner_of(database, request.param),
    )
    made.permit()
    return made


class Crash(Exception):
    pass


class CrashBehind:
    def __init__(self, step: Step) -> None:
        self.step = step

    def reached(self, step: Step, log_id: str) -> None:
        if step is self.step:
            raise Crash(step)


@pytest.mark.parametrize("step", list(Step))
def test_a_crash_behind_any_step_loses_and_forks_nothing(trail: AuditTrail, step: Step) -> None:
    trail.seal()
    trail.permit()
    with pytest.raises(Crash):
        trail.sealer(observer=CrashBehind(step)).run_once(at=NOW)
    assert trail.codes() == set()
    trail.permit()
    sealer = trail.sealer()
    sealer.run_once(at=NOW)
    sealer.run_once(at=NOW)
    assert trail.codes() == set()
    assert trail.report().found.unsealed == 0
    roots: dict[str, str] = {}
    for payload, owner, _ in trail.backend.signed:
        assert owner == trail.log_id
        origin, size, root = payload.message.decode().splitlines()
        assert origin == trail.origin
        assert roots.setdefault(size, root) == root


def test_a_restored_database_halts(trail: AuditTrail) -> None:
    trail.seal()
    trail.permit()
    trail.seal()
    trail.sql(delete(audit_checkpoints).where(audit_checkpoints.c.size > 1))
    trail.sql(delete(audit_entries).where(audit_entries.c.seq > 0))
    signed = len(trail.backend.signed)
    with pytest.raises(DatabaseBehind, match="backup"):
        trail.sealer()
    assert len(trail.backend.signed) == signed
    assert "DatabaseBehind" in trail.codes()


def test_an_emptied_database_halts(trail: AuditTrail) -> None:
    trail.seal()
    trail.sql(delete(audit_checkpoints))
    trail.sql(delete(audit_entries))
    with pytest.raises(DatabaseBehind):
        trail.sealer()


def test_changed_entries_halt(trail: AuditTrail) -> None:
    trail.seal()
    trail.sql(audit_entries.update().values(entry=b"other"))
    with pytest.raises(LogForked):
        trail.sealer()


def test_a_lost_folder_halts(trail: AuditTrail) -> None:
    trail.seal()
    shutil.rmtree(trail.folder)
    with pytest.raises(CheckpointFileMissing, match="policy"):
        trail.sealer()
    assert trail.codes() == {"AuditKeyUnknown"}


def test_another_key_is_not_used(trail: AuditTrail) -> None:
    trail.seal()
    good = trail.backend
    trail.backend = audit_backend()
    with pytest.raises(KeysChanged):
        trail.sealer()
    assert trail.backend.signed == []
    trail.backend = good
    trail.permit()
    assert trail.seal() is not None


@pytest.mark.parametrize("policy", [b"", b"quorum none\n", b"nonsense"])
def test_a_policy_file_that_is_not_this_logs_is_refused(trail: AuditTrail, policy: bytes) -> None:
    trail.files.write_policy(policy, slot=1)
    with pytest.raises(AuditKeyMalformed):
        trail.sealer()


def test_the_key_is_pinned_before_the_first_seal(trail: AuditTrail) -> None:
    with pytest.raises(AuditKeyUnknown):
        pinned_keys(trail.origin, trail.files)
    trail.sealer()
    (key,) = pinned_keys(trail.origin, trail.files).keys
    assert key.name == trail.origin
    assert key.public_key == trail.backend.public_key(Purpose.AUDIT)


def test_who_is_overtaken_seals_nothing(trail: AuditTrail) -> None:
    first, second = trail.sealer(), trail.sealer()
    assert second.run_once(at=NOW) == Sequenced(1, 1)
    trail.permit()
    with pytest.raises(FenceLost):
        first.run_once(at=NOW)
    assert second.run_once(at=NOW) == Sequenced(3, 2)


def test_nothing_in_the_folder_tells_the_second(trail: AuditTrail) -> None:
    trail.seal()
    dates = {path.stat().st_mtime % 600 for path in trail.folder.rglob("*") if path.is_file()}
    assert dates == {0}
