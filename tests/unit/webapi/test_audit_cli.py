"""`tamga audit`: what was changed is named, the log of an honest service verifies."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import and_, delete, insert, update

from signer.audit.entry import PermitReserved, encode_entry
from signer.payload import Purpose
from signer.receipts.note import VerifierKey
from tests.support.audit_trail import SLOT, AuditTrail, Harm, audit_backend, owner_of
from tests.support.databases import Database
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import NOW
from webapi.cli.audit import AuditDesk, audit
from webapi.storage.audit import audit_checkpoints, audit_entries
from webapi.storage.certificates import SqlCertificateStore, issued_certificates
from webapi.storage.elections import elections
from webapi.storage.permits import permit_ranges, permits
from webapi.storage.realm import Realm


@pytest.fixture
def trails(database: Database, tmp_path: Path) -> dict[Realm, AuditTrail]:
    backend = audit_backend()
    return {
        realm: AuditTrail(
            database.engine(realm),
            realm,
            tmp_path / "audit",
            backend,
            owner_of(database, realm),
        )
        for realm in Realm
    }


@pytest.fixture
def trail(trails: dict[Realm, AuditTrail]) -> AuditTrail:
    """Realm pki after a little of everything, sealed twice, with one entry that waits."""
    made = trails[Realm.PKI]
    for _ in range(3):
        made.permit()
    made.permit(spent=False)
    made.ledger.end_range(made.range().close())
    made.seal()
    store = SqlCertificateStore(made.engine)
    for serial in (1, 2):
        store.register(ca="citizen-ca", serial=serial, subject="CN=x", not_after=NOW)
    store.suspend(ca="citizen-ca", serial=1, at=NOW)
    store.revoke(ca="citizen-ca", serial=2, at=NOW, reason="superseded")
    made.range(count=7)
    made.seal()
    made.permit()
    return made


def run(trails: dict[Realm, AuditTrail], *arguments: str) -> Result:
    desk = AuditDesk(
        lambda realm: trails[realm].audit(),
        lambda realm: trails[realm].records,
        lambda: trails[Realm.BALLOTS].desk().lease(),
    )
    return CliRunner().invoke(audit, arguments, obj=desk)


def reported(trails: dict[Realm, AuditTrail], *arguments: str) -> dict[str, Any]:
    done = run(trails, "verify", "pki", "--json", *arguments)
    (report,) = json.loads(done.stdout)
    assert done.exit_code == (0 if report["ok"] else 1)
    members: dict[str, Any] = report
    return members


def test_an_honest_service_verifies(trails: dict[Realm, AuditTrail], trail: AuditTrail) -> None:
    done = run(trails, "verify")
    assert done.exit_code == 0, done.output
    assert "audit.login.example/pki: log and records agree" in done.output
    assert "up to 7 signatures" in done.output
    assert "audit.login.example/login: 0 entries sealed" in done.output
    report = reported(trails)
    assert (report["permits"], report["permits_spent"]) == (7, 6)  # with those of two seals
    assert (report["ranges"], report["range_signatures"]) == (2, 0)
    assert list(report["open_ranges"].values()) == [7]
    assert (report["size"], report["unsealed"]) == (10, 1)
    assert report["findings"] == []


def first_of(trail: AuditTrail, table: Any) -> Any:
    """The condition that a row is the first one of a table."""
    keys = list(table.primary_key)
    with trail.engine.begin() as connection:
        row = connection.execute(table.select().order_by(*keys).limit(1)).one()
    return and_(*(key == getattr(row, key.name) for key in keys))


def change(table: Any, **values: object) -> Harm:
    return lambda trail: trail.sql(update(table).where(first_of(trail, table)).values(**values))


def remove(table: Any) -> Harm:
    return lambda trail: trail.sql(delete(table).where(first_of(trail, table)))


def remove_all_checkpoints(trail: AuditTrail) -> None:
    trail.sql(delete(audit_checkpoints))


def add_permit(trail: AuditTrail) -> None:
    values = {"purpose": "ocsp-citizen-ca", "owner": "x", "digest": bytes(32)}
    times = {"issued_at": 0, "expires_at": 60}
    trail.sql(insert(permits).values(permit_id="e" * 32, **values, **times))


def add_entry(trail: AuditTrail) -> None:
    entry = PermitReserved(bytes(16), "ocsp-citizen-ca", "x", bytes(32), 0, 60)
    trail.sql(insert(audit_entries).values(entry=encode_entry(entry), slot=0, of_seal=False))


def add_nonsense(trail: AuditTrail) -> None:
    trail.sql(insert(audit_entries).values(entry=b"nonsense", slot=0, of_seal=False))


def repeat_entry(trail: AuditTrail) -> None:
    data = next(data for _, data in trail.records.audit_entries())
    trail.sql(insert(audit_entries).values(entry=data, slot=0, of_seal=False))


def remove_waiting_entry(trail: AuditTrail) -> None:
    trail.sql(delete(audit_entries).where(audit_entries.c.seq.is_(None)))


def unspend_all(trail: AuditTrail) -> None:
    trail.sql(update(permits).values(spent_at=None))


def reopen_ranges(trail: AuditTrail) -> None:
    trail.sql(update(permit_ranges).values(used=None, root=None))


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (change(permits, owner="somebody"), "row-differs-from-entry"),
        (change(permits, digest=bytes(32)), "row-differs-from-entry"),
        (change(permits, expires_at=0), "row-differs-from-entry"),
        (change(permits, spent_at=2**40), "spent-too-late"),
        (change(permits, purpose=""), "row-malformed"),
        (change(permits, permit_id="x"), "row-malformed"),
        (change(permits, permit_id="d" * 32), "row-without-entry"),
        (remove(permits), "entry-without-row"),
        (add_permit, "row-without-entry"),
        (unspend_all, "signature-without-permit"),
        (change(permit_ranges, count=9), "row-differs-from-entry"),
        (change(permit_ranges, used=11, root=bytes(32)), "range-overused"),
        (change(permit_ranges, used=1, root=None), "row-malformed"),
        (remove(permit_ranges), "entry-without-row"),
        (reopen_ranges, "entry-without-row"),
        (add_entry, "entry-without-row"),
        (add_nonsense, "entry-malformed"),
        (repeat_entry, "entry-repeated"),
        (remove_waiting_entry, "row-without-entry"),
        (remove(audit_entries), "row-without-entry"),
        (change(audit_entries, entry=b"other"), "LogForked"),
        (change(audit_entries, entry=b"other"), "entry-malformed"),
        (change(issued_certificates, state="good", since=None), "certificate-differs-from-entry"),
        (change(issued_certificates, since=1), "certificate-differs-from-entry"),
        (remove(issued_certificates), "entry-without-row"),
        (change(audit_checkpoints, note=b"nonsense"), "KeysChanged"),
        (remove(audit_checkpoints), "LogForked"),
        (remove_all_checkpoints, "DatabaseBehind"),
    ],
)
def test_whatever_is_changed_is_named(
    trails: dict[Realm, AuditTrail], trail: AuditTrail, harm: Harm, code: str
) -> None:
    harm(trail)
    report = reported(trails)
    assert code in {finding["code"] for finding in report["findings"]}
    done = run(trails, "verify", "pki")
    assert done.exit_code == 1
    assert f"audit.login.example/pki: {code}: " in done.stdout
    assert "agree" not in done.stdout


def test_a_tile_that_was_changed_is_named(
    trails: dict[Realm, AuditTrail], trail: AuditTrail
) -> None:
    tile = next(path for path in trail.folder.rglob("tile/0/**/*") if path.is_file())
    tile.write_bytes(bytes(len(tile.read_bytes())))
    assert [finding["code"] for finding in reported(trails)["findings"]] == ["TilesDamaged"]


def test_what_an_auditor_kept_must_be_the_beginning(
    trails: dict[Realm, AuditTrail], trail: AuditTrail, tmp_path: Path
) -> None:
    older = trail.log.checkpoint("pki", 6)
    newest = trail.files.read_checkpoint()
    assert older is not None
    assert newest is not None
    kept = tmp_path / "kept"
    for note in (older.note, newest):
        kept.write_bytes(note)
        assert reported(trails, "--since", str(kept))["ok"]
    # The whole machine went back to an older state, and nothing on it can tell.
    trail.sql(delete(audit_entries))
    for table in (permits, permit_ranges, issued_certificates):
        trail.sql(delete(table))
    trail.sql(delete(audit_checkpoints))
    codes = trail.codes(newest)
    assert "KeptCheckpointAhead" in codes


def test_a_kept_checkpoint_of_another_history_is_named(
    trails: dict[Realm, AuditTrail], trail: AuditTrail, tmp_path: Path
) -> None:
    other = AuditTrail(trails[Realm.LOGIN].engine, Realm.PKI, tmp_path / "other", trail.backend)
    other.permit()
    other.seal()
    forked = other.files.read_checkpoint()
    assert forked is not None
    assert trail.codes(forked) == {"KeptCheckpointForked"}
    foreign = trails[Realm.BALLOTS]
    foreign.permit()
    foreign.seal()
    note = foreign.files.read_checkpoint()
    assert note is not None
    assert trail.codes(note) == {"KeptCheckpointInvalid"}
    assert trail.codes(b"nonsense") == {"KeptCheckpointInvalid"}
    (tmp_path / "foreign").write_bytes(note)
    done = run(trails, "verify", "pki", "--since", str(tmp_path / "foreign"))
    assert done.exit_code == 1
    assert "which is not asked for" in done.output
    (tmp_path / "foreign").write_bytes(b"nonsense")
    assert run(trails, "verify", "--since", str(tmp_path / "foreign")).exit_code == 1


def test_the_auditors_own_key_decides(trails: dict[Realm, AuditTrail], trail: AuditTrail) -> None:
    printed = run(trails, "key", "pki")
    assert printed.exit_code == 0
    vkey = printed.stdout.strip()
    assert vkey.startswith("audit.login.example/pki+")
    assert reported(trails, "--key", vkey)["ok"]
    other = VerifierKey.of(trail.origin, audit_backend().public_key(Purpose.AUDIT))
    codes = [finding["code"] for finding in reported(trails, "--key", str(other))["findings"]]
    assert codes == ["KeysChanged"]
    for wrong in ("nonsense", vkey.replace("pki", "login")):
        assert run(trails, "verify", "pki", "--key", wrong).exit_code == 1
    assert "name the realm" in run(trails, "verify", "--key", vkey).output


def test_before_the_first_seal_there_is_no_key(trails: dict[Realm, AuditTrail]) -> None:
    done = run(trails, "key", "login")
    assert done.exit_code == 1
    assert "nothing was sealed yet" in done.output


def test_an_elections_entries_and_every_signed_checkpoint_are_compared(tmp_path: Path) -> None:
    disk = ReceiptDisk(tmp_path).create()
    disk.sequencer().run_once(at=NOW)
    disk.close()
    disk.sequencer().run_once(at=NOW)
    trail = AuditTrail(disk.engine, Realm.BALLOTS, tmp_path / "audit")
    trail.seal()
    report = trail.report()
    assert report.findings == ()
    assert report.found.spent == 5  # two keys, two batches, one seal
    trail.sql(update(elections).values(manifest=b"another"))
    assert trail.codes() == {"row-differs-from-entry"}


def test_a_checkpoint_beyond_the_permits_is_named(tmp_path: Path) -> None:
    disk = ReceiptDisk(tmp_path).create()
    disk.sequencer().run_once(at=NOW)
    trail = AuditTrail(disk.engine, Realm.BALLOTS, tmp_path / "audit")
    trail.sql(update(permits).where(permits.c.purpose == "receipt-log").values(spent_at=None))
    (finding,) = trail.report().findings
    assert finding.code == "signature-without-permit"
    assert finding.what.startswith("1 signature(s) of mn-2026-trial")


def test_an_exact_time_beside_ballots_is_named(trails: dict[Realm, AuditTrail]) -> None:
    ballots = trails[Realm.BALLOTS]
    ballots.permit(at=SLOT)
    assert ballots.codes() == set()
    ballots.permit(at=NOW)
    assert ballots.codes() == {"time-too-exact"}


def test_what_is_written_while_it_is_compared_is_no_finding(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_ranges = trail.records.ranges

    def meanwhile() -> Any:
        found = list(read_ranges())
        trail.permit()
        numbers = trail.range()
        trail.ledger.end_range(numbers.close())
        return found

    monkeypatch.setattr(trail.records, "ranges", meanwhile)
    assert trail.codes() == set()


def test_an_election_that_begins_while_it_is_compared_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = ReceiptDisk(tmp_path)
    trail = AuditTrail(disk.engine, Realm.BALLOTS, tmp_path / "audit")
    read = trail.records.elections
    begun: list[ReceiptDisk] = []

    def meanwhile() -> Any:
        found = list(read())
        if not begun:
            begun.append(disk.create())
            disk.close()
        return found

    monkeypatch.setattr(trail.records, "elections", meanwhile)
    assert trail.codes() == set()


def test_records_are_read_step_by_step(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapi.storage.audit_records.READ_STEP", 2)
    assert trail.codes() == set()
    assert trail.report().found.permits == 7
