"""Audit entries and what they tell are one transaction; what waits is sealed, and bounded."""

import secrets
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from signer.audit.entry import (
    CertificateChanged,
    PermitReserved,
    RangeEnded,
    RangeReserved,
    decode_entry,
)
from signer.errors import AuditBehind, PermitAlreadySpent, PermitExists, PermitUnknown
from signer.payload import Purpose
from signer.receipts.errors import FenceLost, LogForked
from signer.receipts.growth import Step
from signer.receipts.sequencer import Sequenced
from tests.support.audit_trail import SLOT, AuditTrail
from tests.support.databases import Database
from tests.support.receipts import NOW
from webapi.storage import audit
from webapi.storage.audit import audit_entries
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.realm import Realm


@pytest.fixture
def trail(database: Database, tmp_path: Path) -> AuditTrail:
    return AuditTrail(database.engine(Realm.PKI), Realm.PKI, tmp_path / "audit")


def entries(trail: AuditTrail) -> list[object]:
    return [decode_entry(data) for _, data in trail.records.audit_entries()]


def test_a_permit_has_its_entry_and_neither_is_there_without_the_other(trail: AuditTrail) -> None:
    record = trail.permit(spent=False)
    assert entries(trail) == [PermitReserved.of(record)]
    with pytest.raises(PermitExists):
        trail.ledger.reserve([replace(record, permit_id="f" * 32), record])
    assert len(entries(trail)) == 1
    assert trail.records.permit("f" * 32) is None


def test_permits_are_spent_all_or_none(trail: AuditTrail) -> None:
    first, second = trail.permit(), trail.permit(spent=False)
    with pytest.raises(PermitAlreadySpent):
        trail.ledger.spend([second.permit_id, first.permit_id], SLOT)
    with pytest.raises(PermitUnknown):
        trail.ledger.spend([second.permit_id, "0" * 32], SLOT)
    stored = trail.records.permit(second.permit_id)
    assert stored is not None
    assert stored.spent_at is None


def test_a_range_and_its_end_have_their_entries(trail: AuditTrail) -> None:
    numbers = trail.range()
    with pytest.raises(PermitExists):
        trail.ledger.reserve_range(numbers.record)
    end = numbers.close()
    trail.ledger.end_range(end)
    trail.ledger.end_range(end)  # as after an answer that was lost
    for other in (replace(end, used=1), replace(end, root=bytes(32)), replace(end, range_id="0")):
        with pytest.raises(PermitUnknown):
            trail.ledger.end_range(other)
    assert entries(trail) == [RangeReserved.of(numbers.record), RangeEnded.of(end)]


def test_changes_of_certificates_have_their_entries(trail: AuditTrail) -> None:
    store = SqlCertificateStore(trail.engine)
    store.register(ca="citizen-ca", serial=31, subject="CN=x", not_after=NOW)
    store.suspend(ca="citizen-ca", serial=31, at=NOW)
    store.restore(ca="citizen-ca", serial=31, at=NOW)
    store.revoke(ca="citizen-ca", serial=31, at=NOW, reason="superseded")
    at = int(NOW.timestamp())
    assert entries(trail) == [
        CertificateChanged("suspended", "citizen-ca", "1f", at, ""),
        CertificateChanged("good", "citizen-ca", "1f", at, ""),
        CertificateChanged("revoked", "citizen-ca", "1f", at, "superseded"),
    ]
    trail.seal()
    assert trail.codes() == set()


def test_what_waits_is_sealed_once_and_a_seals_own_permit_is_no_reason_to_seal(
    trail: AuditTrail,
) -> None:
    assert trail.seal() is None
    trail.permit()
    trail.permit()
    assert trail.seal() == Sequenced(2, 2)
    assert trail.log.count_unsealed() == 0
    assert trail.seal() is None
    trail.permit()
    assert trail.seal() == Sequenced(4, 2)  # with the permit of the first seal
    assert trail.codes() == set()
    assert [payload.purpose for payload, _, _ in trail.backend.signed] == [Purpose.AUDIT] * 2


def test_no_more_than_a_batch_is_sealed_at_once(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signer.audit.sealing.SEAL_LIMIT", 2)
    for _ in range(3):
        trail.permit()
    sealer = trail.sealer()
    assert sealer.run_once(at=NOW) == Sequenced(2, 2)
    assert sealer.run_once(at=NOW) == Sequenced(4, 2)
    assert trail.codes() == set()


def test_of_many_writers_and_two_sealers_every_entry_gets_one_place(trail: AuditTrail) -> None:
    sealers = [trail.sealer(), trail.sealer()]
    lost: list[FenceLost] = []

    def write() -> None:
        for _ in range(10):
            trail.permit()

    def seal(index: int) -> None:
        for _ in range(10):
            try:
                sealers[index].run_once(at=NOW)
            except FenceLost as error:
                lost.append(error)
                sealers[index] = trail.sealer()

    threads = [threading.Thread(target=write) for _ in range(3)]
    threads += [threading.Thread(target=seal, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.sealer().run_once(at=NOW)
    assert trail.codes() == set()
    report = trail.report()
    assert report.found.permits >= 30
    assert report.found.unsealed == 0


def test_too_many_waiting_entries_stop_signing_and_not_sealing(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_UNSEALED_ENTRIES", 3)
    for _ in range(3):
        trail.permit()
    trail.permit(at=SLOT)
    with pytest.raises(AuditBehind, match="too many"):
        trail.permit()
    with pytest.raises(AuditBehind):
        trail.range()
    store = SqlCertificateStore(trail.engine)
    store.register(ca="citizen-ca", serial=31, subject="CN=x", not_after=NOW)
    store.revoke(ca="citizen-ca", serial=31, at=NOW, reason="superseded")
    trail.seal()
    trail.permit()


def test_entries_that_wait_for_too_long_stop_signing(trail: AuditTrail) -> None:
    limit = timedelta(minutes=10) * audit.MAX_UNSEALED_SLOTS
    trail.permit()
    trail.permit(at=SLOT + limit)
    with pytest.raises(AuditBehind, match="too long"):
        trail.permit(at=SLOT + limit + timedelta(minutes=10))
    trail.seal()
    trail.permit(at=SLOT + limit + timedelta(minutes=10))


def test_places_that_no_checkpoint_covers_are_not_sealed(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = timedelta(minutes=10) * audit.MAX_UNSEALED_SLOTS
    trail.permit()
    trail.seal()
    for _ in range(2):
        trail.permit()
    trail.log.assign(after=1, limit=10)  # and the key is away
    assert trail.log.count_unsealed() == 2
    late = SLOT + limit + timedelta(minutes=10)
    with pytest.raises(AuditBehind, match="too long"):
        trail.permit(at=late)
    monkeypatch.setattr(audit, "MAX_UNSEALED_ENTRIES", 2)
    trail.permit()
    with pytest.raises(AuditBehind, match="too many"):
        trail.permit()
    assert trail.log.count_unsealed() == 3
    trail.seal()
    trail.seal()
    assert trail.log.count_unsealed() == 0
    trail.permit(at=late)


def test_entries_without_a_time_are_no_reason_to_stop(trail: AuditTrail) -> None:
    trail.sql(insert(audit_entries).values(entry=b"x", slot=None, of_seal=False))
    trail.permit()


def test_the_fence_of_a_log_holds_its_permits(trail: AuditTrail) -> None:
    record = replace(trail.permit(spent=False), permit_id="a" * 32, purpose=Purpose.AUDIT)
    trail.log.intend("pki", previous_size=0, size=1, root=bytes(32), holder="one", permits=[record])
    again = replace(record, permit_id="b" * 32)
    with pytest.raises(FenceLost, match="is signing"):
        trail.log.intend(
            "pki", previous_size=0, size=1, root=bytes(32), holder="two", permits=[again]
        )
    with pytest.raises(LogForked):
        trail.log.intend(
            "pki", previous_size=0, size=1, root=b"1" * 32, holder="one", permits=[again]
        )
    assert trail.records.permit("b" * 32) is None
    with pytest.raises(FenceLost, match="took over"):
        trail.log.spend("pki", size=1, holder="two", permit_ids=["a" * 32], at=SLOT)
    trail.log.take_over("pki", holder="two")
    with pytest.raises(FenceLost, match="took over"):
        trail.log.spend("pki", size=1, holder="one", permit_ids=["a" * 32], at=SLOT)
    stored = trail.records.permit("a" * 32)
    assert stored is not None
    assert stored.spent_at is None
    trail.log.spend("pki", size=1, holder="two", permit_ids=["a" * 32], at=SLOT)


def test_an_intent_follows_the_newest_seal(trail: AuditTrail) -> None:
    trail.permit()
    trail.seal()
    for previous_size, why in ((0, "came first"), (2, "not the newest")):
        with pytest.raises(FenceLost, match=why):
            trail.log.intend(
                "pki",
                previous_size=previous_size,
                size=4,
                root=bytes(32),
                holder="one",
                permits=[replace(trail.permit(spent=False), permit_id=secrets.token_hex(16))],
            )


def test_a_place_is_given_once(trail: AuditTrail, monkeypatch: pytest.MonkeyPatch) -> None:
    trail.permit()
    trail.seal()
    trail.permit()
    # As if the places had been counted before another sealer gave them.
    monkeypatch.setattr("webapi.storage.audit_log.entry_count", lambda *_: 0)
    with pytest.raises(FenceLost, match="same places"):
        trail.log.assign(after=0, limit=10)
    monkeypatch.undo()
    with pytest.raises(FenceLost, match="in the meantime"):
        trail.log.assign(after=0, limit=10)
    assert trail.log.count_unsealed() == 1


@pytest.mark.parametrize("when", [1, 3, 4])
@pytest.mark.parametrize("step", [2, 10_000])
def test_entries_are_read_once_while_they_get_their_places(
    trail: AuditTrail, monkeypatch: pytest.MonkeyPatch, step: int, when: int
) -> None:
    monkeypatch.setattr("webapi.storage.audit_records.READ_STEP", step)
    for _ in range(3):
        trail.permit()
    trail.seal()
    for _ in range(4):
        trail.permit()
    read: list[tuple[int | None, bytes]] = []
    for entry in trail.records.audit_entries():
        read.append(entry)
        if len(read) == when:
            assert trail.seal() is not None
    with trail.engine.begin() as connection:
        written = connection.execute(select(audit_entries.c.entry)).scalars().all()
    told = [data for _, data in read]
    assert len(told) == len(set(told))
    # Of the seal's own permit an entry came while they were read.
    assert set(told) >= set(written[:-1])
    places = [place for place, _ in read if place is not None]
    assert places == sorted(places)


def test_the_steps_of_a_seal_come_in_their_order(trail: AuditTrail) -> None:
    class Listening:
        def __init__(self) -> None:
            self.steps: list[Step] = []

        def reached(self, step: Step, log_id: str) -> None:
            assert log_id == "pki"
            self.steps.append(step)

    trail.permit()
    listening = Listening()
    trail.sealer(observer=listening).run_once(at=NOW)
    assert listening.steps == list(Step)
