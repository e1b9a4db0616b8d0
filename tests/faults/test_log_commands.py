"""`tamga log` beside a service, and on what a disk did to its tiles."""

import os
import subprocess
import sys

import pytest

from tests.support.faults import Scene
from tests.support.log_audit import audit_all

LOG = "log-a"


def tamga_log(stage: Scene, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "webapi.cli", "log", command, LOG],
        env={**os.environ, "TAMGA_CONFIG": str(stage.home.config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.long
def test_tiles_are_made_again_when_the_worker_has_stopped(stage: Scene) -> None:
    stage.register_all(LOG, 4)
    stage.settle()
    tile = stage.home.directory / "logs" / LOG / "tile" / "0" / "000.p" / "5"
    whole = tile.read_bytes()
    tile.write_bytes(bytes(len(whole)))

    told = tamga_log(stage, "verify")
    assert (told.returncode, told.stderr) == (1, "")
    assert "TilesDamaged: tile/0/000.p/5 " in told.stdout
    refused = tamga_log(stage, "rebuild")
    assert refused.returncode == 1
    assert "a worker has this log" in refused.stderr
    assert tile.read_bytes() != whole

    stage.stop()
    rebuilt = tamga_log(stage, "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert tile.read_bytes() == whole
    assert tamga_log(stage, "verify").returncode == 0
    stage.start()
    stage.register_all(LOG, 1)
    stage.settle()
    audit_all(stage)
