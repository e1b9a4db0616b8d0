"""A permit is recorded first, bound to key, bytes and time, and good for one signature."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pkcs11_bridge.agent import challenge_proof
from signer.errors import PermitAlreadySpent, PermitExpired, PermitMismatch, PermitUnknown
from signer.payload import Payload, Purpose, checkpoint_payload, login_challenge_payload
from signer.permit import PermitRecord, SigningPermit, issue_permit, spend_permit
from tests.support.ledger import MemoryLedger

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIFE = timedelta(minutes=1)


def challenge_payload(random: bytes = bytes(24)) -> Payload:
    return login_challenge_payload(
        challenge_proof.signed_text("https://login.example", random, bytes(4), 1_800_000_000)
    )


def permit_for(payload: Payload, ledger: MemoryLedger) -> SigningPermit:
    return issue_permit(payload, owner="login", ledger=ledger, at=NOW, life=LIFE)


def test_a_permit_is_recorded_before_it_exists() -> None:
    class Down(MemoryLedger):
        def record(self, permit: PermitRecord) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        permit_for(challenge_payload(), Down())


@pytest.mark.parametrize(("owner", "life"), [("", LIFE), ("login", timedelta(0))])
def test_a_permit_without_owner_or_life_is_refused(owner: str, life: timedelta) -> None:
    with pytest.raises(ValueError, match="owner"):
        issue_permit(challenge_payload(), owner=owner, ledger=MemoryLedger(), at=NOW, life=life)


def test_other_bytes_are_refused_and_the_permit_stays_unspent() -> None:
    ledger = MemoryLedger()
    permit = permit_for(challenge_payload(), ledger)
    with pytest.raises(PermitMismatch, match="bytes"):
        spend_permit(permit, challenge_payload(b"\x01" * 24), ledger=ledger, at=NOW)
    assert not ledger.spent


def test_another_key_is_refused() -> None:
    ledger = MemoryLedger()
    text = b"receipts.example/e1\n1\nAAAA\n"
    one = checkpoint_payload(Purpose.RECEIPT_LOG, "receipts.example/e1", text)
    other = checkpoint_payload(Purpose.RECEIPT_LOG_ED25519, "receipts.example/e1", text)
    assert one.digest == other.digest
    with pytest.raises(PermitMismatch, match="key"):
        spend_permit(permit_for(one, ledger), other, ledger=ledger, at=NOW)


def test_a_permit_is_over_at_its_last_instant() -> None:
    ledger = MemoryLedger()
    payload = challenge_payload()
    with pytest.raises(PermitExpired):
        spend_permit(permit_for(payload, ledger), payload, ledger=ledger, at=NOW + LIFE)
    just_in_time = NOW + LIFE - timedelta(microseconds=1)
    spend_permit(permit_for(payload, ledger), payload, ledger=ledger, at=just_in_time)


def test_an_unrecorded_permit_is_refused() -> None:
    payload = challenge_payload()
    with pytest.raises(PermitUnknown):
        spend_permit(permit_for(payload, MemoryLedger()), payload, ledger=MemoryLedger(), at=NOW)


def test_of_fifty_threads_one_spends_it() -> None:
    ledger = MemoryLedger()
    payload = challenge_payload()
    permit = permit_for(payload, ledger)

    def attempt(_: int) -> bool:
        try:
            spend_permit(permit, payload, ledger=ledger, at=NOW)
        except PermitAlreadySpent:
            return False
        return True

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(attempt, range(50))) == 1


def test_a_permit_is_made_nowhere_else() -> None:
    permit = permit_for(challenge_payload(), MemoryLedger())
    with pytest.raises(TypeError):
        SigningPermit(permit.record)
    with pytest.raises((TypeError, ValueError)):
        replace(permit)
    with pytest.raises(TypeError):
        pickle.dumps(permit)
