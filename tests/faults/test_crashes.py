"""SIGKILL at every arrow of the sequencer's order, and what must hold on the same disk after it."""

from pathlib import Path

import pytest

from signer.receipts.growth import Step
from tests.support.faults import Point, Scene, copy_home, scene
from tests.support.log_audit import audit_all
from webapi.cli.home import Home

STEPS = [Point(step.name) for step in Step]
# Permits of both keys together; then the signature of the first key, and of the second.
SIGNING = [
    Point("permit recorded"),
    Point("permit spent"),
    Point("signature made"),
    Point("signature made", 1),
]
KEYS = 2
# Between two temporary files, before the names are durable, and likewise for the checkpoint.
WRITING = [Point("file written"), Point("file written", 1), Point("files renamed")]
POINTS = STEPS + SIGNING + WRITING
LOG = "log-a"
OTHER = "log-b"
FULL_TILE = 256


def ends_lost(point: Point) -> int:
    """Permits that were spent in vain."""
    if point.name == "permit spent":
        return KEYS
    return KEYS - 1 - point.skip if point.name == "signature made" else 0


def ends_unspent(point: Point) -> int:
    return KEYS if point.name in ("permit recorded", Step.INTENT_RECORDED.name) else 0


@pytest.mark.long
def test_one_log_survives_a_crash_at_every_point_one_after_another(stage: Scene) -> None:
    stage.create(OTHER)
    stage.settle()
    lost = unspent = 0
    for point in POINTS:
        stage.register_all(LOG, 2)
        stage.register_all(OTHER, 1)
        stage.arm(point, LOG)
        stage.run_until_killed()
        lost += ends_lost(point)
        unspent += ends_unspent(point)
        stage.start()
        audit_all(stage, lost=lost, unspent=unspent)
        stage.register_all(LOG, 1)
        stage.settle()
    audit_all(stage, lost=lost, unspent=unspent)


def test_a_crash_while_tiles_are_made_anew(stage: Scene) -> None:
    stage.register_all(LOG, 3)
    stage.settle()
    stage.stop()
    for tile in (stage.home.directory / "logs" / LOG / "tile").rglob("*"):
        if tile.is_file():
            tile.write_bytes(b"damaged")
    stage.start()
    stage.arm(Point("file written", 1), LOG)
    stage.run_until_killed()
    stage.start()
    stage.register_all(LOG, 1)
    stage.settle()
    audit_all(stage)


@pytest.fixture(scope="module")
def nearly_full_tile(
    pattern_home: Home, tmp_path_factory: pytest.TempPathFactory, mischief_module: Path
) -> Scene:
    """A log whose next two ballots fill a tile and begin another."""
    home = copy_home(pattern_home, tmp_path_factory.mktemp("tiles") / "home", mischief_module)
    with scene(home) as made:
        made.start()
        made.create(LOG)
        made.register_all(LOG, FULL_TILE - 2)
        made.settle()
        return made


# The genesis record has its place since the election was created.
@pytest.mark.long
@pytest.mark.parametrize("point", POINTS[1:], ids=str)
def test_a_crash_in_the_genesis_batch(home: Home, point: Point) -> None:
    with scene(home) as made:
        made.start()
        made.create(LOG)
        crash_and_recover(made, point, lost=ends_lost(point), unspent=ends_unspent(point))
        made.register_all(LOG, 2)
        made.settle()
        audit_all(made, lost=ends_lost(point), unspent=ends_unspent(point))


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_crash_where_a_tile_becomes_full(
    nearly_full_tile: Scene, tmp_path: Path, mischief_module: Path, point: Point
) -> None:
    home = copy_home(nearly_full_tile.home, tmp_path / "home", mischief_module)
    with scene(home, at=nearly_full_tile.at) as made:
        made.manifests.update(nearly_full_tile.manifests)
        made.registered[LOG] = list(nearly_full_tile.registered[LOG])
        made.receipts.update(nearly_full_tile.receipts)
        made.start()
        made.register_all(LOG, 3)
        crash_and_recover(made, point, lost=ends_lost(point), unspent=ends_unspent(point))


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_crash_in_the_closing_batch(stage: Scene, point: Point) -> None:
    stage.register_all(LOG, 2)
    assert stage.order_close(LOG).status == 202
    crash_and_recover(stage, point, lost=ends_lost(point), unspent=ends_unspent(point))
    late = stage.register(LOG, 99)
    assert (late.status, late.json()["code"]) == (410, "election_over")


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_crash_at_a_point_and_again_while_recovering_from_it(stage: Scene, point: Point) -> None:
    lost = unspent = 0
    for again in (point, *STEPS[1:]):
        stage.register_all(LOG, 1)
        stage.arm(again, LOG)
        stage.run_until_killed()
        lost += ends_lost(again)
        unspent += ends_unspent(again)
        stage.start()
    audit_all(stage, lost=lost, unspent=unspent)
    stage.settle()
    audit_all(stage, lost=lost, unspent=unspent)


def crash_and_recover(made: Scene, point: Point, *, lost: int, unspent: int) -> None:
    made.arm(point, LOG)
    made.run_until_killed()
    made.start()
    audit_all(made, lost=lost, unspent=unspent)
    made.settle()
    audit_all(made, lost=lost, unspent=unspent)
