"""The worker's audit job: a token that is away holds up seals alone, a halted log itself alone."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import delete
from structlog.testing import capture_logs

from signer.backend import SigningBackend
from signer.receipts.growth import SilentObserver
from tests.support.audit_trail import AuditTrail, audit_backend, owner_of
from tests.support.databases import Database
from tests.support.receipts import NOW
from webapi.audit_folders import AuditFolders
from webapi.audit_logs import AuditLogs
from webapi.operations.metrics import Metrics
from webapi.put_back import Containment
from webapi.storage.audit import audit_checkpoints, audit_entries
from webapi.storage.realm import Realm
from webapi.watched import AuditGauge


class TokenAway(Exception):
    pass


class Desk:
    def __init__(self, database: Database, folder: Path) -> None:
        self.backend = audit_backend()
        self.is_away = False
        self.folder = folder
        self.trails = {
            realm: AuditTrail(
                database.engine(realm), realm, folder, self.backend, owner_of(database, realm)
            )
            for realm in Realm
        }
        self.logs = self.new_logs()

    def new_logs(self) -> AuditLogs:
        return AuditLogs(
            host="login.example",
            log_of=lambda realm: self.trails[realm].log,
            folders=AuditFolders(self.folder),
            backend=self.new_backend,
            observer=SilentObserver(),
            contain=Containment(lambda realm: self.trails[realm].engine, lambda: NOW),
        )

    def new_backend(self) -> SigningBackend:
        if self.is_away:
            raise TokenAway
        return self.backend


@pytest.fixture
def desk(database: Database, tmp_path: Path) -> Desk:
    return Desk(database, tmp_path / "audit")


def test_every_realm_is_sealed(desk: Desk) -> None:
    for trail in desk.trails.values():
        trail.permit()
    assert set(desk.logs.count_unsealed().values()) == {1}
    desk.logs.run_once(at=NOW)
    desk.logs.run_once(at=NOW)
    assert set(desk.logs.count_unsealed().values()) == {0}
    assert desk.logs.count_states() == {"open": 3, "busy": 0, "failing": 0, "halted": 0}
    assert [trail.codes() for trail in desk.trails.values()] == [set()] * 3
    desk.logs.close()
    assert desk.logs.count_states()["open"] == 0


def test_a_token_that_is_away_holds_up_seals_alone(desk: Desk) -> None:
    desk.is_away = True
    for trail in desk.trails.values():
        trail.permit()
    with capture_logs() as logs:
        desk.logs.run_once(at=NOW)
    assert [entry["log_id"] for entry in logs] == ["login", "ballots", "pki"]
    assert {(entry["event"], entry["error_class"]) for entry in logs} == {
        ("log_failed", "TokenAway")
    }
    for trail in desk.trails.values():
        trail.permit()  # signing goes on
    desk.is_away = False
    desk.logs.run_once(at=NOW + timedelta(seconds=31))
    assert set(desk.logs.count_unsealed().values()) == {0}
    assert desk.logs.count_states()["failing"] == 0


def test_a_log_that_halts_leaves_the_others_running(desk: Desk) -> None:
    for trail in desk.trails.values():
        trail.permit()
    desk.logs.run_once(at=NOW)
    desk.logs.close()
    pki = desk.trails[Realm.PKI]
    pki.sql(delete(audit_checkpoints))
    pki.sql(delete(audit_entries))
    logs = desk.new_logs()
    for trail in desk.trails.values():
        trail.permit()
    for _ in range(2):
        logs.run_once(at=NOW)
    assert logs.halted == {"pki": "DatabaseBehind"}
    assert logs.count_unsealed() == {"login": 0, "ballots": 0, "pki": 1}


def test_a_log_in_another_workers_hands_is_left_there(desk: Desk) -> None:
    desk.trails[Realm.LOGIN].permit()
    desk.logs.run_once(at=NOW)
    other = desk.new_logs()
    other.run_once(at=NOW)
    assert set(other.busy.values()) == {"SequencerRunning"}
    desk.logs.close()
    other.run_once(at=NOW)
    assert other.busy == {}


def test_what_waits_is_measured(desk: Desk) -> None:
    desk.trails[Realm.BALLOTS].permit()
    metrics = Metrics(CollectorRegistry())
    look: Callable[[], None] = AuditGauge(desk.logs, metrics)
    look()
    read = metrics.registry.get_sample_value
    assert read("tamga_audit_unsealed", {"realm": "ballots"}) == 1
    assert read("tamga_audit_unsealed", {"realm": "pki"}) == 0
    assert read("tamga_audit_logs", {"state": "halted"}) == 0
