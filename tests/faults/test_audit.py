"""The audit logs of real processes: killed at every step of a seal, restored, verified."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from signer.payload import Purpose
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.growth import Step
from tests.support.faults import Point, Scene
from tests.support.home_database import HomeDatabase, often_on_sqlite
from tests.support.log_audit import audit_all, journal
from webapi.storage.realm import Realm

LOG = "log-a"
GOOD: dict[str, dict[str, str]] = {"halted": {}, "busy": {}}
SEALING = [
    Point(Step.ASSIGNED.name),
    Point("file written"),
    Point("files renamed"),
    Point("permit recorded"),
    Point("permit spent"),
    Point("signature made"),
    Point(Step.COMMITTED.name),
    Point(Step.CHECKPOINT_FILE_WRITTEN.name),
    Point(Step.RELEASED.name),
]


def verify(stage: Scene, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "webapi.cli", "audit", "verify", *arguments],
        env={**os.environ, "TAMGA_CONFIG": str(stage.home.config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def sealed_roots(stage: Scene) -> None:
    """No two roots were ever signed for a size of an audit log."""
    roots: dict[tuple[str, int], bytes] = {}
    for signed in journal(stage):
        if signed.purpose == Purpose.AUDIT:
            checkpoint = Checkpoint.parse(signed.message)
            key = (checkpoint.origin, checkpoint.size)
            assert roots.setdefault(key, checkpoint.root) == checkpoint.root
    assert roots


def crash_and_recover(stage: Scene, point: Point) -> tuple[int, int]:
    """How many permits were spent in vain, and how many recorded."""
    stage.register_all(LOG, 1)
    stage.settle()
    stage.arm(point, Realm.BALLOTS)
    stage.order_until_killed("seal")
    stage.start()
    assert verify(stage, "ballots").returncode == 0
    stage.register_all(LOG, 1)
    stage.settle()
    assert stage.seal() == GOOD
    assert stage.seal() == GOOD
    return int(point.name == "permit spent"), int(point.name == "permit recorded")


@pytest.mark.parametrize("point", [Point("signature made")], ids=str)
def test_a_crash_while_an_audit_log_is_sealed(stage: Scene, point: Point) -> None:
    lost, unspent = crash_and_recover(stage, point)
    audit_all(stage, lost=lost, unspent=unspent)
    sealed_roots(stage)
    told = verify(stage)
    assert told.returncode == 0, told.stdout
    assert "audit.localhost/ballots: log and records agree" in told.stdout


@pytest.mark.long
def test_a_crash_at_every_step_of_a_seal_one_after_another(stage: Scene) -> None:
    lost = unspent = 0
    for point in SEALING:
        more = crash_and_recover(stage, point)
        lost, unspent = lost + more[0], unspent + more[1]
    audit_all(stage, lost=lost, unspent=unspent)
    sealed_roots(stage)
    assert verify(stage).returncode == 0


@often_on_sqlite
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(Point("range recorded"), marks=pytest.mark.long),
        pytest.param(Point("signature made"), marks=pytest.mark.long),
        Point("signature made", 5),
    ],
    ids=str,
)
def test_a_crash_under_a_range_leaves_it_open_and_forges_nothing(
    stage: Scene, point: Point
) -> None:
    stage.arm(point, "login")
    stage.order_until_killed("fill_stock")
    stage.start()
    stage.order("fill_stock")
    stage.order("restart")  # which ends the range of this process
    assert stage.seal() == GOOD
    told = verify(stage, "login")
    assert told.returncode == 0, told.stdout
    assert told.stdout.count("has not ended: up to 256 signatures") == 1
    audit_all(stage)


# A database from yesterday under a folder of today.


def of_login(stage: Scene) -> None:
    stage.request("POST", "/auth/challenge", b"{}", {"Content-Type": "application/json"})
    stage.order("fill_stock")
    stage.order("restart")  # the range of this process is over, which is recorded


def of_ballots(stage: Scene) -> None:
    stage.register_all(LOG, 1)
    stage.settle()


def of_pki(stage: Scene) -> None:
    stage.order("change_certificate", state="suspended")
    stage.order("change_certificate", state="good")


ACTIVITY = [
    pytest.param(Realm.LOGIN, of_login, marks=pytest.mark.long),
    pytest.param(Realm.BALLOTS, of_ballots, marks=pytest.mark.long),
    (Realm.PKI, of_pki),
]


@often_on_sqlite
@pytest.mark.parametrize(("realm", "act"), ACTIVITY)
def test_a_restored_database_of_any_realm_halts_its_audit_log_and_says_so(
    stage: Scene, home_database: HomeDatabase, realm: Realm, act: Callable[[Scene], None]
) -> None:
    act(stage)
    assert stage.seal() == GOOD
    home_database.back_up("yesterday", realm)
    act(stage)
    assert stage.seal() == GOOD
    assert verify(stage).returncode == 0
    stage.stop()
    home_database.restore("yesterday")

    before = stage.sign_calls()
    for _ in range(2):
        stage.start()
        for _ in range(2):
            assert stage.seal() == {"halted": {str(realm): "DatabaseBehind"}, "busy": {}}
        stage.stop()
    assert stage.sign_calls() == before
    told = verify(stage, str(realm))
    assert told.returncode == 1
    assert f"audit.localhost/{realm}: DatabaseBehind: " in told.stdout
    others = [str(other) for other in Realm if other is not realm]
    assert [verify(stage, other).returncode for other in others] == [0, 0]


# A database from before, for ever: the log is begun anew.


def begin_anew(stage: Scene, realm: Realm) -> "subprocess.CompletedProcess[str]":
    because = "there is no newer backup"
    command = [sys.executable, "-m", "webapi.cli", "audit", "begin-anew", str(realm)]
    return subprocess.run(
        [*command, "--because", because],
        env={**os.environ, "TAMGA_CONFIG": str(stage.home.config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@often_on_sqlite
def test_a_realm_whose_newer_database_is_lost_for_ever_goes_on_in_a_new_generation(
    stage: Scene, home_database: HomeDatabase
) -> None:
    of_login(stage)
    assert stage.seal() == GOOD
    stage.stop()
    refused = begin_anew(stage, Realm.LOGIN)
    assert (refused.returncode, "agrees with its folder" in refused.stderr) == (1, True)
    stage.start()
    home_database.back_up("yesterday", Realm.LOGIN)
    stage.order("restart")  # a new range, of which yesterday knows nothing
    of_login(stage)
    assert stage.seal() == GOOD
    stage.stop()
    home_database.restore("yesterday")

    stage.start()
    assert stage.order("acquire") == {"active": True}
    assert stage.seal() == {"halted": {"login": "DatabaseBehind"}, "busy": {}}
    refused = begin_anew(stage, Realm.LOGIN)
    assert (refused.returncode, "a worker of the service runs" in refused.stderr) == (1, True)
    stage.stop()
    begun = begin_anew(stage, Realm.LOGIN)
    assert begun.returncode == 0, begun.stderr
    assert "audit.localhost/login/2: begun; audit.localhost/login is given up" in begun.stdout

    stage.start()
    assert stage.seal() == GOOD
    before = stage.sign_calls()
    of_login(stage)
    assert stage.sign_calls() > before
    assert stage.seal() == GOOD
    stage.order("restart")
    assert stage.seal() == GOOD
    sealed_roots(stage)
    told = verify(stage)
    assert told.returncode == 0, told.stdout
    assert "audit.localhost/login/2: begun anew on " in told.stdout
    assert "there is no newer backup" in told.stdout
    assert "audit.localhost/login/2: log and records agree" in told.stdout
    stage.stop()
    again = begin_anew(stage, Realm.LOGIN)
    assert (again.returncode, "agrees with its folder" in again.stderr) == (1, True)
