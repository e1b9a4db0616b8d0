"""`tamga audit begin-anew`: the way out of an audit log that can never be sealed again."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Table, delete, select, update

from signer.audit.entry import BegunAnew, decode_entry, encode_entry
from signer.audit.errors import AuditLogUsable
from signer.errors import AuditBehind
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import DatabaseBehind, FenceLost
from signer.receipts.growth import SilentObserver
from signer.receipts.note import UnverifiedNote, VerifierKey
from signer.receipts.policy import Policy
from tests.support.audit_trail import SLOT, AuditTrail, Harm, owner_of
from tests.support.databases import Database
from tests.support.receipts import NOW
from webapi.audit_anew import AuditLogInUse, Begun, begin_anew
from webapi.audit_folders import AuditFolders
from webapi.audit_logs import AuditLogs
from webapi.cli.audit import audit
from webapi.storage import audit as audit_tables
from webapi.storage.audit import audit_checkpoints, audit_entries, audit_intents
from webapi.storage.audit_generations import FIRST, audit_generations
from webapi.storage.lease import WorkerLease
from webapi.storage.permits import permits
from webapi.storage.realm import Realm

FIRST_ORIGIN = "audit.login.example/pki"
SECOND_ORIGIN = "audit.login.example/pki/2"
REASON = "restored from the backup of 21 November; there is no newer one"
TABLES: tuple[Table, ...] = (
    audit_entries,
    audit_checkpoints,
    audit_intents,
    audit_generations,
    permits,
)


class Yesterday:
    """The rows of a realm as they were."""

    def __init__(self, trail: AuditTrail) -> None:
        with trail.engine.begin() as connection:
            self.rows = {
                table: [dict(row._mapping) for row in connection.execute(select(table))]
                for table in TABLES
            }

    def restore(self, trail: AuditTrail) -> None:
        for table, rows in self.rows.items():
            trail.sql(delete(table))
            if rows:
                trail.sql(table.insert().values(rows))


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
    """Sealed up to 3 in the database, up to 5 by its folder; entries wait."""
    for _ in range(3):
        trail.permit()
    trail.seal()
    trail.permit()
    yesterday = Yesterday(trail)
    trail.seal()
    trail.permit()
    trail.seal()
    yesterday.restore(trail)
    return trail


def begin(trail: AuditTrail, because: str = REASON) -> Begun:
    return begin_anew(trail.audit(), WorkerLease(trail.engine), because=because, at=NOW)


def logs_of(trail: AuditTrail) -> AuditLogs:
    return AuditLogs(
        host="login.example",
        log_of=lambda _: trail.audit().log_of(trail.audit().generations.active()),
        folders=AuditFolders(trail.folder),
        backend=lambda: trail.backend,
        observer=SilentObserver(),
    )


def seal(trail: AuditTrail) -> dict[str, str]:
    """What halted, after the worker's job ran twice for this realm."""
    logs = logs_of(trail)
    for _ in range(2):
        logs._try_log(str(trail.realm), at=NOW)
    logs.close()
    return dict(logs.halted)


def run(trail: AuditTrail, *arguments: str) -> Result:
    return CliRunner().invoke(audit, arguments, obj=trail.desk())


def reported(trail: AuditTrail, *arguments: str) -> dict[str, Any]:
    done = run(trail, "verify", "pki", "--json", *arguments)
    (report,) = json.loads(done.stdout)
    assert done.exit_code == (0 if report["ok"] else 1)
    members: dict[str, Any] = report
    return members


def codes(trail: AuditTrail) -> set[str]:
    return {finding["code"] for finding in reported(trail)["findings"]}


# What is refused.


def test_a_log_that_is_healthy_goes_on_as_it_is(trail: AuditTrail) -> None:
    trail.permit()
    for _ in range(2):
        with pytest.raises(AuditLogUsable, match="goes on as it is"):
            begin(trail)
        trail.seal()
    assert trail.audit().generations.all() == (FIRST,)
    assert trail.codes() == set()


def test_a_worker_that_runs_keeps_its_log(behind: AuditTrail) -> None:
    lease = WorkerLease(behind.engine)
    assert lease.acquire()
    with pytest.raises(AuditLogInUse, match="stop every process"):
        begin(behind)
    lease.release()
    with behind.files.locked(), pytest.raises(AuditLogInUse, match="stop it first"):
        begin(behind)
    assert behind.audit().generations.all() == (FIRST,)
    assert WorkerLease(behind.engine).acquire()  # it was given back


@pytest.mark.parametrize("because", ["", "  ", "x" * 1001, "two\nlines", "\x1b[2J"])
def test_a_reason_is_one_line_of_bounded_length(behind: AuditTrail, because: str) -> None:
    done = run(behind, "begin-anew", "pki", "--because", because)
    assert done.exit_code == 1
    assert "a reason is one line of 1 to 1000 bytes" in done.output
    assert behind.audit().generations.all() == (FIRST,)
    assert not (behind.folder / "pki-2").exists()


def forge_checkpoint(trail: AuditTrail) -> None:
    text = Checkpoint(FIRST_ORIGIN, 9, bytes(32)).text()
    note = trail.files.read_checkpoint() or b""
    _, _, signatures = note.partition(b"\n\n")
    trail.files.write_checkpoint(text + b"\n" + signatures, slot=0)


def lose_policy_alone(trail: AuditTrail) -> None:
    (trail.folder / "pki" / "policy").unlink()


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda trail: trail.sql(update(audit_entries).values(entry=b"x")), "LogForked"),
        (lambda trail: trail.files.write_checkpoint(b"x", slot=0), "CheckpointFileMalformed"),
        (forge_checkpoint, "proves nothing"),
        (lose_policy_alone, "put the policy back first"),
    ],
)
def test_a_log_with_another_fault_is_not_given_up(trail: AuditTrail, harm: Harm, why: str) -> None:
    trail.permit()
    trail.seal()
    harm(trail)
    done = run(trail, "begin-anew", "pki", "--because", REASON)
    assert done.exit_code == 1
    assert why in done.output
    assert trail.audit().generations.all() == (FIRST,)


# What it does.


def test_a_log_behind_its_folder_is_begun_anew(behind: AuditTrail) -> None:
    assert seal(behind) == {"pki": "DatabaseBehind"}
    before = sorted(path for path in (behind.folder / "pki").rglob("*") if path.is_file())
    newest = behind.files.read_checkpoint()
    assert newest is not None
    known = Checkpoint.parse(UnverifiedNote.parse(newest).text)
    done = run(behind, "begin-anew", "pki", "--because", f" {REASON} ")
    assert done.exit_code == 0, done.output
    assert f"{SECOND_ORIGIN}: begun; {FIRST_ORIGIN} is given up" in done.output
    assert f"sealed up to 3 in the database, up to {known.size} by its folder" in done.output
    assert f"\n{SECOND_ORIGIN}+" in done.output
    assert "publish" in done.output

    (first,) = behind.audit().opened()[-1].log.entries("pki-2", 0, 9)
    entry = decode_entry(first)
    assert isinstance(entry, BegunAnew)
    assert entry.items()[:5] == (2, FIRST_ORIGIN, known.size, known.root, 3)
    assert entry.reason == REASON
    assert behind.files.read_checkpoint() == newest
    assert sorted(path for path in (behind.folder / "pki").rglob("*") if path.is_file()) == before

    assert seal(behind) == {}
    behind.permit()
    assert seal(behind) == {}
    assert behind.log.count_unsealed() == 0
    report = reported(behind)
    assert report["findings"] == []
    assert (report["origin"], report["size"]) == (SECOND_ORIGIN, 6)
    (told,) = report["breaks"]
    assert (told["previous"], told["sealed_size"], told["known_size"]) == (FIRST_ORIGIN, 3, 7)
    assert told["reason"] == REASON
    said = run(behind, "verify", "pki")
    assert said.exit_code == 0
    assert f"{SECOND_ORIGIN}: begun anew on " in said.stdout
    assert REASON in said.stdout
    assert f"{SECOND_ORIGIN}: log and records agree" in said.stdout


def test_a_log_whose_folder_is_lost_is_begun_anew(trail: AuditTrail) -> None:
    trail.permit()
    trail.seal()
    shutil.rmtree(trail.folder)
    assert seal(trail) == {"pki": "CheckpointFileMissing"}
    done = run(trail, "begin-anew", "pki", "--because", REASON)
    assert "its folder has no checkpoint" in done.output
    assert "pinned with the first seal" in done.output
    assert not (trail.folder / "pki" / "checkpoint").exists()
    assert seal(trail) == {}
    report = reported(trail)
    assert report["findings"] == []
    assert (report["breaks"][0]["known_size"], report["breaks"][0]["known_root"]) == (0, None)
    assert run(trail, "key", "pki").stdout.startswith(f"{SECOND_ORIGIN}+")


def test_the_same_key_is_pinned_for_the_new_generation(behind: AuditTrail) -> None:
    begun = begin(behind)
    assert begun.keys is not None
    policy = behind.audit().opened()[-1].files.read_policy()
    old = behind.files.read_policy()
    assert policy is not None
    assert old is not None
    (key,) = Policy.parse(policy).logs[SECOND_ORIGIN].keys
    (before,) = Policy.parse(old).logs[FIRST_ORIGIN].keys
    assert key.encoded == before.encoded
    # Another key on the token is refused, as in every log.
    other = AuditTrail(behind.engine, Realm.PKI, behind.folder)
    assert seal(other) == {"pki": "KeysChanged"}


def test_what_waited_and_what_was_placed_without_a_seal_is_sealed_in_the_new_one(
    behind: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert behind.log.assign(limit=10) == 2
    begin(behind)
    assert behind.log.count_unsealed() == 1
    assert behind.log.log_state("pki").entries == 4  # only the beginning lies behind it
    monkeypatch.setattr(audit_tables, "MAX_UNSEALED_SLOTS", 0)
    with pytest.raises(AuditBehind):
        behind.permit(at=SLOT + timedelta(minutes=10))
    assert seal(behind) == {}
    behind.permit(at=SLOT + timedelta(minutes=10))
    assert codes(behind) == set()


def test_a_sealer_of_the_old_generation_places_nothing_more(behind: AuditTrail) -> None:
    begin(behind)
    with pytest.raises(FenceLost, match="later generation"):
        behind.log.assign(limit=10)
    generations = behind.audit().generations
    entry = BegunAnew(3, SECOND_ORIGIN, 0, b"", 0, 0, "x")
    with pytest.raises(FenceLost, match="later generation"):
        generations.begin(entry, after=FIRST)


def test_a_generation_begins_once(behind: AuditTrail) -> None:
    begun = begin(behind)
    active = behind.audit().generations.active()
    generations = behind.audit().generations
    with pytest.raises(FenceLost, match="has begun"):
        generations.begin(begun.entry, after=active)
    with pytest.raises(AuditLogUsable):
        begin(behind)


def test_a_second_time_makes_a_third_generation(behind: AuditTrail) -> None:
    begin(behind)
    assert seal(behind) == {}
    (behind.folder / "pki-2" / "checkpoint").unlink()
    assert seal(behind) == {"pki": "CheckpointFileMissing"}
    assert begin(behind).origin == f"{FIRST_ORIGIN}/3"
    assert seal(behind) == {}
    report = reported(behind)
    assert report["findings"] == []
    assert [told["origin"] for told in report["breaks"]] == [SECOND_ORIGIN, f"{FIRST_ORIGIN}/3"]


def test_a_database_from_before_the_break_does_not_take_the_name_again(
    behind: AuditTrail,
) -> None:
    yesterday = Yesterday(behind)
    begin(behind)
    assert seal(behind) == {}
    yesterday.restore(behind)
    # Whoever finds the first generation's seal again cannot make it go on beside the second.
    signed = behind.log.log_state("pki").signed
    assert signed is not None
    behind.files.write_checkpoint(signed.note, slot=0)
    (behind.folder / "pki" / "tile").rename(behind.folder / "elsewhere")
    assert seal(behind) == {"pki": "DatabaseBehind"}
    assert "DatabaseBehind" in codes(behind)

    begun = begin(behind)
    assert begun.origin == f"{FIRST_ORIGIN}/3"
    assert begun.entry.previous == SECOND_ORIGIN
    assert (begun.entry.known_size > 0, begun.entry.database_size) == (True, 0)
    assert seal(behind) == {}
    assert codes(behind) == set()


def test_a_lost_generation_without_a_policy_is_named_without_its_checkpoint(
    behind: AuditTrail,
) -> None:
    yesterday = Yesterday(behind)
    begin(behind)
    assert seal(behind) == {}
    yesterday.restore(behind)
    (behind.folder / "pki-2" / "policy").unlink()
    with pytest.raises(AuditLogUsable, match="put the policy back first"):
        begin(behind)
    (behind.folder / "pki-2" / "checkpoint").unlink()
    begun = begin(behind)
    assert (begun.keys, begun.entry.known_size) == (None, 0)


def test_beside_ballots_the_beginning_tells_the_slot_alone(
    database: Database, tmp_path: Path
) -> None:
    trail = AuditTrail(database.engine(Realm.BALLOTS), Realm.BALLOTS, tmp_path / "audit")
    trail.permit()
    trail.seal()
    shutil.rmtree(trail.folder)
    assert begin(trail).entry.at % 600 == 0
    assert seal(trail) == {}
    assert trail.codes() == set()


# What verification says of it.


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
