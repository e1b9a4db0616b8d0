"""The main job on PostgreSQL: the same commands, other URLs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.test_demo import demo
from tests.flows.test_doctor import Patient
from tests.support.home_database import PostgresHome
from tests.support.postgres import PostgresServer
from tests.support.processes import assert_none_left, free_ports
from webapi.cli.home import Home


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    made = Patient(tmp_path / "home", free_ports(2))
    ports = ("--https-port", str(made.ports[0]), "--ocsp-port", str(made.ports[1]))
    done = made.run("init", *ports)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def database(patient: Patient, durable_postgresql_server: PostgresServer) -> Iterator[PostgresHome]:
    made = PostgresHome(durable_postgresql_server)
    made.attach(Home(patient.directory))
    yield made
    made.remove()


def test_login_and_receipt_on_postgresql(patient: Patient, database: PostgresHome) -> None:
    upgraded = patient.run("db", "upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    done = demo(patient.directory, patient.ports)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything held." in done.stdout
    assert_none_left(str(patient.directory))
    assert not (patient.directory / "database").exists()
    for table in ("login.login_evidence", "ballots.log_checkpoints", "pki.issued_certificates"):
        ((count,),) = database.administer(f"SELECT count(*) FROM {table}")
        assert isinstance(count, int)
        assert count > 0, table
    found = patient.examine()
    states = {name: check["state"] for name, check in found.checks.items() if "database" in name}
    assert len(states) == 3 * 6 + 2
    assert set(states.values()) == {"ok"}, states
