"""The real service for a measurement: web processes, worker, SoftHSM, a durable PostgreSQL."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from signer.receipts.election import Manifest
from tests.support.postgres import PATTERN, roles_in, running_server
from tests.support.processes import free_ports
from webapi import clock
from webapi.cli.development import prepare_home
from webapi.cli.elections import open_office
from webapi.cli.home import Home, Ports
from webapi.elections.office import ElectionPlan
from webapi.storage.realm import Realm

ELECTION = "bench"
READY_SECONDS = 30.0
STOP_SECONDS = 20.0

UNLIMITED = {
    "TAMGA_RECEIPTS__REGISTRATIONS_PER_KEY_BURST": "1000000",
    "TAMGA_RECEIPTS__REGISTRATIONS_PER_KEY_PER_MINUTE": "6000000",
}
"""One election system sends all that is measured."""


@dataclass(frozen=True, slots=True)
class RunningService:
    """A service that answers.

    Attributes:
        ports: where, on loopback.
        home: its folder.
        ballots: URL of the ballots' realm.
        manifest: of its one election.
        system_key: the election system's.
    """

    ports: Ports
    home: Home
    ballots: str = field(repr=False)
    manifest: Manifest
    system_key: ec.EllipticCurvePrivateKey

    def get(self, path: str) -> bytes:
        """The body of an answer; raises OSError or urllib3's errors."""
        with PoolManager(ca_certs=str(self.home.root_pem), retries=False) as pool:
            return pool.request("GET", self.ports.origin + path).data


@contextmanager
def running_service(environment: Mapping[str, str] | None = None) -> Iterator[RunningService]:
    """A new home in a folder of its own, served until the block ends.

    Args:
        environment: settings that differ from a development home's.
    """
    with (
        running_server(durable=True) as server,
        tempfile.TemporaryDirectory(prefix="tamga-bench-") as folder,
    ):
        home, ports = Home(Path(folder)), Ports(*free_ports(2))
        prepare_home(home, ports, clock.now())
        databases = {
            f"TAMGA_DATABASE__{realm.upper()}__URL": server.url(
                roles_in(PATTERN, realm).runtime, PATTERN
            )
            for realm in Realm
        }
        changed = {**os.environ, **UNLIMITED, **databases, **(environment or {})}
        with patch.dict(os.environ, changed):
            manifest, key = _open_election(home)
        roles = ("--role", "web", "--role", "worker")
        command = [sys.executable, "-m", "webapi.cli", "--config", str(home.config), "serve"]
        with (home.directory / "service.log").open("ab") as log:
            process = subprocess.Popen([*command, *roles], env=changed, stdout=log, stderr=log)
        service = RunningService(
            ports, home, databases["TAMGA_DATABASE__BALLOTS__URL"], manifest, key
        )
        try:
            _await_ready(service, process)
            yield service
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _open_election(home: Home) -> tuple[Manifest, ec.EllipticCurvePrivateKey]:
    key = load_pem_private_key(home.election_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    at = clock.now().replace(microsecond=0)
    plan = ElectionPlan(
        election_id=ELECTION,
        title="Measurement",
        domain="receipts.localhost",
        opens_at=at - timedelta(hours=1),
        closes_at=at + timedelta(days=1),
        election_system_key=key.public_key(),
        standby_keys=(),
        no_vote_proof=False,
    )
    return open_office(home.config).create(plan), key


def _await_ready(service: RunningService, process: subprocess.Popen[bytes]) -> None:
    """Web and worker both run once the web shows a log that the worker began, and is ready."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            checkpoint = service.get(f"/log/{ELECTION}/checkpoint")
            ready = service.get("/health/ready")
            if (
                checkpoint.startswith(service.manifest.origin.encode())
                and b'"status":"ready"' in ready
            ):
                return
        except (OSError, HTTPError):
            pass
        time.sleep(0.1)
    log = (service.home.directory / "service.log").read_text()
    raise RuntimeError(f"the service did not begin:\n{log}")
