"""`tamga audit verify` on a log that was begun anew: whatever is changed about it is named."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from signer.audit.entry import BegunAnew, encode_entry
from signer.receipts.errors import DatabaseBehind
from signer.receipts.note import VerifierKey
from tests.support.audit_breaks import FIRST_ORIGIN, begin, behind_of, codes, reported, seal
from tests.support.audit_trail import AuditTrail, Harm, owner_of
from tests.support.databases import Database
from webapi.audit_folders import AuditFolders
from webapi.storage.audit import audit_checkpoints, audit_entries
from webapi.storage.audit_generations import audit_generations
from webapi.storage.realm import Realm


@pytest.fixture
def trail(database: Database, tmp_path: Path) -> AuditTrail:
    return AuditTrail(
        database.engine(Realm.PKI),
        Realm.PKI,
        tmp_path / "audit",
        owner=owner_of(database, Realm.PKI),
    )


@pytest.fixture
def behind(trail: AuditTrail) -> AuditTrail:
    return behind_of(trail)


def tamper_with_entry(trail: AuditTrail) -> None:
    with trail.engine.begin() as connection:
        row = connection.execute(select(audit_generations)).one()
    entry = BegunAnew(2, FIRST_ORIGIN, row.known_size, row.known_root, 3, row.at, "all was well")
    trail.sql(
        update(audit_entries)
        .where(audit_entries.c.seq == row.first_seq)
        .values(entry=encode_entry(entry))
    )


def tamper_with_both(trail: AuditTrail) -> None:
    tamper_with_entry(trail)
    trail.sql(update(audit_generations).values(reason="all was well"))


def swap_entries(trail: AuditTrail) -> None:
    for old, new in ((3, 90), (4, 3), (90, 4)):
        trail.sql(update(audit_entries).where(audit_entries.c.seq == old).values(seq=new))


def spoil_entry(trail: AuditTrail) -> None:
    trail.sql(update(audit_entries).where(audit_entries.c.seq == 3).values(entry=b"x"))


def forget_the_folder(trail: AuditTrail) -> None:
    shutil.rmtree(trail.folder / "pki")


def spoil_old_checkpoint(trail: AuditTrail) -> None:
    trail.files.write_checkpoint(b"x", slot=0)


def age_old_checkpoint(trail: AuditTrail) -> None:
    signed = trail.log.log_state("pki").signed
    assert signed is not None
    trail.files.write_checkpoint(signed.note, slot=0)


def spoil_old_tile(trail: AuditTrail) -> None:
    tile = next(path for path in (trail.folder / "pki").rglob("tile/0/**/*") if path.is_file())
    tile.write_bytes(bytes(len(tile.read_bytes())))


def remove_old_seal(trail: AuditTrail) -> None:
    trail.sql(delete(audit_checkpoints).where(audit_checkpoints.c.log_id == "pki"))


def change_old_entry(trail: AuditTrail) -> None:
    trail.sql(update(audit_entries).where(audit_entries.c.seq == 0).values(entry=b"x"))


def remove_generation(trail: AuditTrail) -> None:
    trail.sql(delete(audit_generations))


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (tamper_with_entry, {"LogForked", "row-differs-from-entry"}),
        (tamper_with_both, {"LogForked"}),
        (swap_entries, {"LogForked", "beginning-missing"}),
        (spoil_entry, {"beginning-missing", "entry-malformed"}),
        (forget_the_folder, {"CheckpointFileMissing"}),
        (spoil_old_checkpoint, {"given-up-log-differs"}),
        (age_old_checkpoint, {"given-up-log-differs"}),
        (spoil_old_tile, {"TilesDamaged"}),
        (remove_old_seal, {"given-up-log-differs"}),
        (change_old_entry, {"LogForked"}),
        (remove_generation, {"DatabaseBehind", "entry-without-row"}),
    ],
)
def test_whatever_is_changed_about_a_break_is_named(
    behind: AuditTrail, harm: Harm, found: set[str]
) -> None:
    begin(behind)
    assert seal(behind) == {}
    assert codes(behind) == set()
    harm(behind)
    assert codes(behind) >= found


def test_what_auditors_kept_of_the_old_generation_is_compared(
    behind: AuditTrail, tmp_path: Path
) -> None:
    older = behind.log.checkpoint("pki", 3)
    ahead = behind.files.read_checkpoint()
    assert older is not None
    assert ahead is not None
    begin(behind)
    assert seal(behind) == {}
    old_key = str(
        VerifierKey.of(FIRST_ORIGIN, next(iter(behind.backend.keys.values())).public_key())
    )
    kept = tmp_path / "kept"
    kept.write_bytes(older.note)
    assert reported(behind, "--since", str(kept))["ok"]
    assert reported(behind, "--since", str(kept), "--key", old_key)["ok"]
    kept.write_bytes(ahead)
    (finding,) = reported(behind, "--since", str(kept))["findings"]
    assert finding["code"] == "KeptCheckpointAhead"
    assert finding["what"].startswith(f"{FIRST_ORIGIN}: ")


def test_a_folder_of_a_later_generation_halts_the_log(trail: AuditTrail) -> None:
    folders = AuditFolders(trail.folder)
    assert folders.newest(Realm.PKI) == 1
    for name in ("pki-2", "pki-11", "login-12", "pki-x", "pki-1", "pki-012"):
        (trail.folder / name / "tile").mkdir(parents=True)
    (trail.folder / "pki-30").mkdir()  # nothing was sealed in it
    assert folders.newest(Realm.PKI) == 11
    with pytest.raises(DatabaseBehind, match="pki-11"):
        folders.require_none_later(Realm.PKI, 2)
    folders.require_none_later(Realm.PKI, 11)
