"""Logins and ballots at a steady rate while processes are killed: what was answered holds."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from signer.receipts.checkpoint import Checkpoint
from signer.receipts.merkle import EMPTY_ROOT, Frontier, leaf_hash
from signer.receipts.note import UnverifiedNote
from signer.receipts.policy import Policy
from signer.receipts.registration import sign_close
from signer.receipts.tiles import TILE_WIDTH, TileAddress, decode_bundle
from signer.receipts.verify import verify_receipt
from softhsm_config.virtual_card.card_file import CardImage
from softhsm_config.virtual_card.slots import Slot
from tests.soak.load import Citizens, ElectionSystem, Pace, Site, Tally, ballot
from tests.soak.report import Report, reports
from tests.soak.service import (
    START_SECONDS,
    Gauge,
    Killer,
    Running,
    Sample,
    Service,
    children_of,
)
from tests.support.home_database import PostgresHome
from tests.support.postgres import PostgresServer
from tests.support.processes import free_ports
from webapi.cli.home import Home
from webapi.config import load_settings

ELECTION = "soak"
CLOSE_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """How long, how much, how often.

    Attributes:
        seconds: for how long the load lasts.
        kill_every_seconds: between two SIGKILLs.
        logins_per_second, receipts_per_second: the load.
    """

    seconds: float
    kill_every_seconds: float
    logins_per_second: float
    receipts_per_second: float
    seed: int = 20261122


@dataclass(frozen=True)
class Installation:
    """A home, and where its data are."""

    home: Home
    ports: tuple[int, int]
    server: PostgresServer | None

    def database_processes(self) -> list[Running]:
        """What may be killed of the database: any but the first, which starts the others."""
        if self.server is None:
            return []
        return children_of(self.server.process_id, "postgresql child")


def run(installation: Installation, plan: Plan) -> Report:
    """Everything; the report, after all that must hold was found to hold."""
    home = installation.home
    service = Service(home, _environment(), installation.ports)
    service.start()
    try:
        site = _ready_site(home)
        tally = Tally()
        citizens, system = _citizens(home, site, tally), _election_system(home, site, tally)
        checkpoints: set[bytes] = set()
        gauge = Gauge(service)
        killer = Killer(
            lambda: service.processes() + installation.database_processes(),
            plan.kill_every_seconds,
            plan.seed,
        )
        paces = [
            Pace(citizens.sign_in, per_second=plan.logins_per_second, threads=16),
            Pace(system.register, per_second=plan.receipts_per_second, threads=48),
        ]
        end = time.monotonic() + plan.seconds
        while time.monotonic() < end:
            time.sleep(1.0)
            checkpoints.add(site.ask_until_answered("GET", f"/log/{ELECTION}/checkpoint").body)
        killer.stop()
        gauge.stop()
        for pace in paces:
            pace.stop()
        assert tally.wrong == []
        sizes = _audit(site, system, checkpoints)
    finally:
        service.stop()
    assert "log_halted" not in service.log()
    tamga(home, "log", "verify", ELECTION)
    tamga(home, "audit", "verify")
    return Report(
        database="SQLite" if installation.server is None else "PostgreSQL",
        seconds=plan.seconds,
        killed=dict(killer.killed),
        counts={**tally.counts, **sizes},
        latency={what: _latency(tally, what) for what in ("login", "receipt")},
        held=held(gauge.samples, plan.seconds),
    )


def _ready_site(home: Home) -> Site:
    site = Site(_origin(home), str(home.root_pem), threads=64)
    deadline = time.monotonic() + START_SECONDS
    while site.ask_until_answered("GET", "/health/ready").status != 200:
        assert time.monotonic() < deadline
    return site


def _citizens(home: Home, site: Site, tally: Tally) -> Citizens:
    card = CardImage.open(home.card)
    certificate = card.certificate(Slot.AUTHENTICATION)
    key = card._load_key(Slot.AUTHENTICATION)
    assert certificate is not None
    assert key is not None
    return Citizens(site, certificate, key, "RS256", tally)


def _election_system(home: Home, site: Site, tally: Tally) -> ElectionSystem:
    now = datetime.now(UTC)
    command = ["election", "create", ELECTION, "--title=Soak", "--domain=receipts.localhost"]
    command += [f"--opens-at={now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"]
    command += [f"--closes-at={now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"]
    command += [f"--system-key={home.election_public_key}"]
    tamga(home, *command)
    key = serialization.load_pem_private_key(home.election_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    deadline = time.monotonic() + START_SECONDS
    while site.ask_until_answered("GET", f"/log/{ELECTION}/checkpoint").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return ElectionSystem(site, ELECTION, key, tally)


def _audit(site: Site, system: ElectionSystem, checkpoints: set[bytes]) -> dict[str, int]:
    """Close the election, download the whole log as anybody can, and compare everything."""
    size = _close(site, system)
    policy = Policy.parse(site.ask_until_answered("GET", f"/log/{ELECTION}/policy").body)
    verified = {
        number: verify_receipt(receipt, ballot(number), policy)
        for number, receipt in system.receipts.items()
    }
    assert set(verified) == system.accepted
    assert len({receipt.index for receipt in verified.values()}) == len(verified)
    for number, receipt in list(system.receipts.items())[:: max(1, len(verified) // 500)]:
        assert str(system.fetch(number).json()["receipt"]).encode() == receipt
    roots = _roots(site, size)
    for proved in verified.values():
        assert roots[proved.size] == proved.root
    for note in checkpoints:
        seen = Checkpoint.parse(UnverifiedNote.parse(note).text)
        assert roots[seen.size] == seen.root
    # The genesis and the close record stand beside the ballots, and nothing else.
    assert size == len(verified) + 2
    return {"entries": size, "public_checkpoints_seen": len(checkpoints)}


def _close(site: Site, system: ElectionSystem) -> int:
    order = sign_close(
        private_key=system.key,
        audience=site.origin,
        election_id=ELECTION,
        no_vote_root=EMPTY_ROOT,
        no_vote_size=0,
        at=datetime.now(UTC),
    )
    deadline = time.monotonic() + CLOSE_SECONDS
    path, headers = f"/elections/{ELECTION}/close", {"Content-Type": "application/jose"}
    while True:
        reply = site.ask_until_answered("POST", path, order.encode(), headers)
        if reply.status == 200:
            break
        assert reply.status == 202, reply.body
        assert time.monotonic() < deadline
        time.sleep(0.5)
    size = reply.json()["size"]
    assert isinstance(size, int)
    while True:
        note = site.ask_until_answered("GET", f"/log/{ELECTION}/checkpoint").body
        if Checkpoint.parse(UnverifiedNote.parse(note).text).size == size:
            return size
        assert time.monotonic() < deadline
        time.sleep(0.5)


def _roots(site: Site, size: int) -> list[bytes]:
    """The root of the public log at each of its sizes."""
    frontier = Frontier.empty()
    roots = [frontier.root]
    for number in range(-(-size // TILE_WIDTH)):
        address = TileAddress(None, number, min(TILE_WIDTH, size - number * TILE_WIDTH))
        bundle = site.ask_until_answered("GET", f"/log/{ELECTION}/tile/{address.path()}")
        for entry in decode_bundle(bundle.body):
            frontier = frontier.extended([leaf_hash(entry)])
            roots.append(frontier.root)
    return roots


def _latency(tally: Tally, what: str) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(tally.percentile(what, share), 3) for name, share in shares.items()}


def held(samples: list[Sample], seconds: float) -> dict[str, dict[str, float]]:
    """What a process of each part held, in the second and in the last quarter of the time."""
    told = {}
    for part in sorted({sample.process.part for sample in samples}):
        of_part = [sample for sample in samples if sample.process.part == part]
        early = [s for s in of_part if seconds / 4 <= s.at < seconds / 2]
        late = [s for s in of_part if s.at >= seconds * 3 / 4]
        if early and late:
            told[part] = {
                "resident_mib_early": round(median(s.resident_kib for s in early) / 1024, 1),
                "resident_mib_late": round(median(s.resident_kib for s in late) / 1024, 1),
                "descriptors_early": median(s.descriptors for s in early),
                "descriptors_late": median(s.descriptors for s in late),
            }
    return told


def tamga(home: Home, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "webapi.cli", "--config", str(home.config), *arguments],
        check=True,
        capture_output=True,
        timeout=60,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TAMGA_")}


def _origin(home: Home) -> str:
    return load_settings(home.config, {}).service.origin


@pytest.fixture
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    home = Home(tmp_path / "home")
    https, ocsp = free_ports(2)
    tamga(home, "init", f"--https-port={https}", f"--ocsp-port={ocsp}")
    text = home.config.read_text()
    stock = "[login]\nstock_target = 32\n"
    assert stock in text
    # All citizens of this test come from one address.
    limits = "challenges_per_source_burst = 10000\nchallenges_per_source_per_minute = 60000\n"
    home.config.write_text(text.replace(stock, f"[login]\nstock_target = 400\n{limits}"))
    if request.param == "sqlite":
        yield Installation(home, (https, ocsp), None)
        return
    server: PostgresServer = request.getfixturevalue("durable_postgresql_server")
    database = PostgresHome(server)
    database.attach(home)
    tamga(home, "doctor")
    yield Installation(home, (https, ocsp), server)
    database.remove()


@pytest.mark.parametrize(
    "installation", [pytest.param("sqlite", marks=pytest.mark.long), "postgresql"], indirect=True
)
def test_what_was_answered_holds_while_processes_are_killed(installation: Installation) -> None:
    plan = Plan(seconds=12, kill_every_seconds=4, logins_per_second=5, receipts_per_second=20)
    reports.append(run(installation, plan))


@pytest.mark.long
@pytest.mark.timeout(2700)
@pytest.mark.parametrize("installation", ["postgresql"], indirect=True)
def test_half_an_hour_of_it_leaks_nothing(installation: Installation) -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "30"))
    report = run(
        installation,
        Plan(
            seconds=minutes * 60,
            kill_every_seconds=20,
            logins_per_second=20,
            receipts_per_second=50,
        ),
    )
    reports.append(report)
    for part, facts in report.held.items():
        assert facts["resident_mib_late"] <= 1.1 * facts["resident_mib_early"] + 8, (part, facts)
        assert facts["descriptors_late"] <= 1.1 * facts["descriptors_early"] + 8, (part, facts)
