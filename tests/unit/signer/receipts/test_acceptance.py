"""Accepting a ballot once; the salts of receipts."""

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from signer.receipts.acceptance import (
    NewRegistration,
    StoredRegistration,
    Submission,
    register,
)
from signer.receipts.errors import (
    ElectionExists,
    ElectionNotFound,
    ElectionNotYetOpen,
    ElectionOver,
    SaltDamaged,
    SaltErased,
    SubmissionConflict,
    SubmissionVanished,
)
from signer.receipts.registration import (
    UnverifiedRegistration,
    verify_registration,
)
from signer.receipts.tile_store import TileFolder
from tests.support.crashes import Crash
from tests.support.databases import Database
from tests.support.receipt_disk import ReceiptDisk, ballot, submission_id
from tests.support.receipts import ELECTION, NOW
from webapi.storage.realm import Realm
from webapi.storage.registrations import SqlRegistrationStore
from webapi.storage.salt_keys import FileSaltVault, SaltKeyUnsafe
from webapi.storage.schema import metadata_of


@pytest.fixture
def disk(tmp_path: Path, database: Database) -> ReceiptDisk:
    return ReceiptDisk(tmp_path, database=database).create()


def test_the_window(disk: ReceiptDisk) -> None:
    with pytest.raises(ElectionNotYetOpen):
        disk.register(0, at=disk.manifest.opens_at - timedelta(seconds=1))
    with pytest.raises(ElectionOver):
        disk.register(0, at=disk.manifest.closes_at)
    disk.register(0, at=disk.manifest.opens_at)
    # A lawful retry comes at any time.
    disk.register(0, at=disk.manifest.closes_at + timedelta(days=1))


def test_the_same_id_with_another_ballot(disk: ReceiptDisk) -> None:
    disk.register(0)
    with pytest.raises(SubmissionConflict):
        disk.register(0, content=b"another", at=disk.manifest.closes_at)


@pytest.mark.parametrize("closing", ["order", "window"])
def test_a_twin_whose_ballot_came_in_before_the_end(disk: ReceiptDisk, closing: str) -> None:
    first = disk.register(0)
    if closing == "order":
        disk.close()
    at = NOW if closing == "order" else disk.manifest.closes_at
    assert disk.register(0, at=at).sealed_salt == first.sealed_salt
    with pytest.raises(SubmissionConflict):
        disk.register(0, content=b"another", at=at)
    with pytest.raises(ElectionOver):
        disk.register(1, at=at)


class ForgetfulStore(SqlRegistrationStore):
    """Finds nothing of what it holds."""

    def find(
        self, election_id: str, submission_ids: Collection[str]
    ) -> Mapping[str, StoredRegistration]:
        return {}


def test_an_id_that_is_taken_and_not_there(disk: ReceiptDisk) -> None:
    disk.register(0)
    disk.registrations = ForgetfulStore(disk.engine)
    with pytest.raises(SubmissionVanished, match="taken"):
        disk.register(0)


def test_the_store_refuses_what_the_database_forbids(disk: ReceiptDisk) -> None:
    new = NewRegistration(submission_id(0), bytes(32), bytes(32), 1, b"", b"", in_batch=False)
    with pytest.raises(ElectionNotFound):
        disk.registrations.insert("absent", [new])
    disk.register(0)
    assert disk.registrations.insert(ELECTION, [new]) == frozenset()
    with pytest.raises(ElectionExists):
        disk.elections.create(disk.manifest)


def test_no_exact_time_is_stored(disk: ReceiptDisk) -> None:
    moment = NOW + timedelta(seconds=123)
    disk.register(0, at=moment)
    with disk.engine.begin() as connection:
        rows = [
            connection.execute(select(table)).all()
            for table in metadata_of(Realm.BALLOTS).sorted_tables
        ]
    stored = str(rows)
    assert str(int(moment.timestamp())) not in stored
    assert "submission-00000000" in stored


# Salts.


def test_erasing_a_key_erases_the_salts(disk: ReceiptDisk) -> None:
    disk.register(0)
    disk.sequencer().run_once(at=NOW)
    disk.sequencer().run_once(at=NOW)
    assert disk.receipt(0) is not None
    disk.vault.erase_key(ELECTION)
    with pytest.raises(SaltErased):
        disk.receipt(0)
    with pytest.raises(SaltErased):
        disk.register(1)


def test_salts_are_bound_to_their_submission(tmp_path: Path) -> None:
    vault = FileSaltVault(tmp_path / "salts")
    vault.ensure_key(ELECTION)
    vault.ensure_key(ELECTION)
    sealed = vault.key(ELECTION).seal(submission_id(0), bytes(32))
    assert vault.key(ELECTION).open(submission_id(0), sealed) == bytes(32)
    for wrong in (sealed[:-1], b"", sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(SaltDamaged):
            vault.key(ELECTION).open(submission_id(0), wrong)
    with pytest.raises(SaltDamaged):
        vault.key(ELECTION).open(submission_id(1), sealed)
    assert [path.name for path in (tmp_path / "salts").iterdir()] == [f"{ELECTION}.key"]


def test_a_key_that_a_crash_left_a_second_link_to_is_erased_whole(tmp_path: Path) -> None:
    vault = FileSaltVault(tmp_path)
    vault.ensure_key(ELECTION)
    (tmp_path / ".tmp-1").hardlink_to(tmp_path / f"{ELECTION}.key")
    vault.erase_key(ELECTION)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_a_key_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_self: Path, _target: Path) -> None:
        raise Crash

    vault = FileSaltVault(tmp_path)
    monkeypatch.setattr(Path, "rename", crash)
    with pytest.raises(Crash):
        vault.ensure_key(ELECTION)
    assert [path.name[:5] for path in tmp_path.iterdir()] == [".tmp-"]
    monkeypatch.undo()
    vault.ensure_key(ELECTION)
    assert [path.name for path in tmp_path.iterdir()] == [f"{ELECTION}.key"]


def test_who_makes_a_key_at_once_makes_one(tmp_path: Path) -> None:
    vault = FileSaltVault(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for made in [pool.submit(vault.ensure_key, ELECTION) for _ in range(40)]:
            made.result()
        sealed = vault.key(ELECTION).seal(submission_id(0), bytes(32))
    vault.ensure_key(ELECTION)
    assert vault.key(ELECTION).open(submission_id(0), sealed) == bytes(32)


def test_new_folders_are_synchronised_with_their_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronised: list[Path] = []

    def record(descriptor: int) -> None:
        synchronised.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", record)
    FileSaltVault(tmp_path / "one" / "salts").ensure_key(ELECTION)
    assert {tmp_path, tmp_path / "one"} <= set(synchronised)
    synchronised.clear()
    with TileFolder(tmp_path / "two" / "log").locked():
        assert {tmp_path, tmp_path / "two"} <= set(synchronised)


@pytest.mark.parametrize("change", [lambda p: p.chmod(0o640), lambda p: p.write_bytes(b"short")])
def test_key_files_that_are_not_safe(tmp_path: Path, change: Callable[[Path], None]) -> None:
    vault = FileSaltVault(tmp_path / "salts")
    vault.ensure_key(ELECTION)
    change(tmp_path / "salts" / f"{ELECTION}.key")
    with pytest.raises(SaltKeyUnsafe):
        vault.key(ELECTION).seal(submission_id(0), bytes(32))


def test_key_files_are_named_by_elections_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="election id"):
        FileSaltVault(tmp_path).ensure_key("../x")


def test_a_receipt_states_the_slot_and_holds_no_ballot(disk: ReceiptDisk) -> None:
    disk.register(7)
    sequencer = disk.sequencer()
    sequencer.run_once(at=NOW)
    sequencer.run_once(at=NOW)
    assert disk.verified(7).accepted_slot == int(NOW.timestamp()) // 600
    assert ballot(7) not in (disk.receipt(7) or b"")


def test_registering_uses_the_salt_it_is_given(disk: ReceiptDisk) -> None:
    (registration,) = verify_registration(
        UnverifiedRegistration.parse(disk.registration_jws(0)), disk.system, at=NOW
    )
    (stored,) = register(
        [Submission(registration, NOW)],
        disk.manifest,
        store=disk.registrations,
        vault=disk.vault,
        draw_salt=lambda: b"S" * 32,
    )
    assert isinstance(stored, StoredRegistration)
    assert disk.vault.key(ELECTION).open(submission_id(0), stored.sealed_salt) == b"S" * 32
