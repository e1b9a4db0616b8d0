"""`tamga backup` on real processes: made under load, put back, released or held for ever."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.faults import Scene
from tests.support.home_database import HomeDatabase, often_on_sqlite
from tests.support.log_audit import audit_all

LOG = "log-a"
MANY = 16


def tamga(stage: Scene, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "webapi.cli", *map(str, arguments)],
        env={**os.environ, "TAMGA_CONFIG": str(stage.home.config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def done(stage: Scene, *arguments: object, code: int = 0) -> str:
    """What the command said."""
    process = tamga(stage, *arguments)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    return said


def lose_everything(stage: Scene, home_database: HomeDatabase) -> None:
    """The disk of databases and logs; salt keys and tokens are elsewhere."""
    stage.stop()
    home_database.lose()
    shutil.rmtree(stage.home.directory / "logs")


@often_on_sqlite
def test_backups_under_load_and_what_becomes_of_them(
    stage: Scene, home_database: HomeDatabase, tmp_path: Path
) -> None:
    stage.register_all(LOG, 3)
    stage.settle()
    loaded, quiet = tmp_path / "loaded", tmp_path / "quiet"
    making = tamga(stage, "backup", "create", loaded)
    while making.poll() is None:
        if len(stage.registered[LOG]) < MANY:
            stage.register_all(LOG, 1)
        stage.run()
    assert making.wait() == 0, making.communicate()[0]
    making.communicate()
    stage.register_all(LOG, 1)
    stage.settle()
    done(stage, "backup", "create", quiet)
    newest = tmp_path / "newest"
    newest.write_bytes((stage.home.directory / "logs" / LOG / "checkpoint").read_bytes())

    # The older one is put back: the log is on hold, and the newest checkpoint keeps it so.
    lose_everything(stage, home_database)
    assert f"tamga log confirm {LOG}" in done(stage, "backup", "restore", loaded)
    before = stage.sign_calls()
    stage.start()
    assert stage.register(LOG, 90).status == 202
    assert stage.run()["halted"] == {LOG: "RestoredFromBackup"}
    refused = done(stage, "log", "confirm", LOG, "--newest", newest, code=1)
    assert "DatabaseBehind" in refused
    held = done(stage, "log", "confirm", LOG, "--nobody-holds-a-newer-one", code=1)
    assert "goes on no more" in held
    stage.stop()
    stage.start()
    assert stage.run()["halted"] == {LOG: "RestoredFromBackup"}
    assert stage.sign_calls() == before

    # The newer one is found: it has all that was ever signed, and the log goes on.
    lose_everything(stage, home_database)
    stage.registered[LOG].remove(90)
    assert "on hold" in done(stage, "backup", "restore", quiet)
    stage.start()
    assert stage.run()["halted"] == {LOG: "RestoredFromBackup"}
    receipt = tmp_path / "receipt"
    receipt.write_bytes(stage.receipts[LOG, max(stage.registered[LOG])])
    shown = ("--newest", newest, "--newest", receipt)
    assert "released on your word" in done(stage, "log", "confirm", LOG, *shown)
    stage.register_all(LOG, 2)
    stage.settle()  # which fetches every receipt again and compares its bytes
    audit_all(stage)
