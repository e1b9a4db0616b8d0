"""`tamga audit begin-anew`: the way out of an audit log that can never be sealed again."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from signer.audit.entry import BegunAnew, decode_entry
from signer.audit.errors import AuditLogUsable
from signer.errors import AuditBehind
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import FenceLost
from signer.receipts.note import UnverifiedNote
from signer.receipts.policy import Policy
from tests.support.audit_breaks import (
    FIRST_ORIGIN,
    REASON,
    SECOND_ORIGIN,
    Yesterday,
    begin,
    behind_of,
    codes,
    reported,
    run,
    seal,
)
from tests.support.audit_trail import SLOT, AuditTrail, Harm, owner_of
from tests.support.databases import Database
from webapi.audit_anew import AuditLogInUse
from webapi.storage import audit as audit_tables
from webapi.storage.audit import audit_entries
from webapi.storage.audit_generations import FIRST
from webapi.storage.lease import WorkerLease
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
