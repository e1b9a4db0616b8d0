"""Levels and refusals of what every request and every signature needs."""

from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from signer.errors import AuditBehind, PermitExists
from signer.payload import Purpose
from signer.permit_range import RangeRecord
from tests.support.certificates import NOW
from webapi.elections.waiting import ShortWait
from webapi.operations.metrics import Metrics
from webapi.storage.engine import opened_engine, watch_pool
from webapi.storage.log_store import SqlLogStore
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.watched import WatchedLogStore, WatchedPermitLedger


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_connections_in_use_are_counted_by_realm_also_when_one_breaks(
    metrics: Metrics, tmp_path: Path
) -> None:
    def in_use() -> float | None:
        return value(metrics, "tamga_database_connections_in_use", realm="login")

    with opened_engine(f"sqlite:///{tmp_path}/login.db", Realm.LOGIN) as engine:
        upgrade(engine, Realm.LOGIN)
        watch_pool(
            engine,
            lambda: metrics.connection_taken(Realm.LOGIN),
            lambda: metrics.connection_returned(Realm.LOGIN),
        )
        with engine.connect():
            with engine.connect():
                assert in_use() == 2
            assert in_use() == 1
        with engine.connect() as broken:
            broken.invalidate()
        assert in_use() == 0


def test_who_waits_for_a_receipt_is_counted_while_waiting(metrics: Metrics) -> None:
    seen: list[float | None] = []

    def look() -> str | None:
        seen.append(value(metrics, "tamga_receipt_waiters"))
        return "receipt" if len(seen) == 2 else None

    assert ShortWait(5.0, 1, metrics.receipt_awaited).find(look) == "receipt"
    assert [*seen, value(metrics, "tamga_receipt_waiters")] == [0, 1, 0]


def test_a_refused_reservation_is_counted_by_realm_and_class(
    metrics: Metrics, tmp_path: Path
) -> None:
    record = RangeRecord(
        range_id="00" * 16,
        purpose=Purpose.LOGIN_CHALLENGE,
        owner="login",
        count=8,
        issued_at=NOW,
        expires_at=NOW + timedelta(minutes=1),
    )
    with opened_engine(f"sqlite:///{tmp_path}/login.db", Realm.LOGIN) as engine:
        upgrade(engine, Realm.LOGIN)
        ledger = WatchedPermitLedger(engine, Realm.LOGIN, metrics)
        name = "tamga_permit_reservations_refused_total"
        ledger.reserve_range(record)
        assert value(metrics, name, realm="login", error="PermitExists") is None
        with pytest.raises(PermitExists):
            ledger.reserve_range(record)
        assert value(metrics, name, realm="login", error="PermitExists") == 1


def test_a_batch_whose_permits_are_refused_is_counted(
    metrics: Metrics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AuditBehind("too much waits to be sealed")

    monkeypatch.setattr(SqlLogStore, "intend", refuse)
    with opened_engine(f"sqlite:///{tmp_path}/ballots.db", Realm.BALLOTS) as engine:
        log = WatchedLogStore(engine, metrics)
        with pytest.raises(AuditBehind):
            log.intend("trial", previous_size=0, size=1, root=b"r" * 32, holder="one", permits=[])
    name = "tamga_permit_reservations_refused_total"
    assert value(metrics, name, realm="ballots", error="AuditBehind") == 1
