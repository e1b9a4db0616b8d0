"""A permit is recorded once and spent once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from signer.errors import PermitAlreadySpent, PermitExists, PermitUnknown
from signer.payload import Purpose
from signer.permit import PermitRecord
from tests.support.databases import Database
from tests.unit.webapi.test_challenge_store import at_once
from webapi.storage.engine import make_engine
from webapi.storage.migration import upgrade
from webapi.storage.permits import SqlPermitLedger
from webapi.storage.realm import Realm

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
PERMIT = PermitRecord(
    permit_id="1" * 32,
    purpose=Purpose.LOGIN_CHALLENGE,
    owner="login",
    digest=b"d" * 32,
    issued_at=NOW,
    expires_at=NOW + timedelta(seconds=30),
)


@pytest.fixture
def ledger(database: Database) -> SqlPermitLedger:
    return SqlPermitLedger(database.engine(Realm.BALLOTS))


def test_an_unknown_permit_cannot_be_spent(ledger: SqlPermitLedger) -> None:
    with pytest.raises(PermitUnknown):
        ledger.spend(PERMIT.permit_id, NOW)


def test_a_permit_is_recorded_once(ledger: SqlPermitLedger) -> None:
    ledger.record(PERMIT)
    with pytest.raises(PermitExists):
        ledger.record(replace(PERMIT, owner="another"))


def test_a_permit_is_spent_once(ledger: SqlPermitLedger) -> None:
    ledger.record(PERMIT)
    ledger.spend(PERMIT.permit_id, NOW)
    with pytest.raises(PermitAlreadySpent):
        ledger.spend(PERMIT.permit_id, NOW)


def test_of_fifty_threads_exactly_one_spends_it(ledger: SqlPermitLedger) -> None:
    ledger.record(PERMIT)

    def spend() -> str:
        try:
            ledger.spend(PERMIT.permit_id, NOW)
        except PermitAlreadySpent:
            return "spent"
        return "won"

    answers = at_once(50, spend)
    assert answers.count("won") == 1
    assert answers.count("spent") == 49


def test_no_hidden_number_tells_the_order_of_permits(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/ballots.db", Realm.BALLOTS)
    upgrade(engine, Realm.BALLOTS)
    with engine.begin() as connection, pytest.raises(OperationalError, match="rowid"):
        connection.exec_driver_sql("SELECT rowid FROM permits")
