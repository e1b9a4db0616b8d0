"""A database from yesterday under a folder of today: that log stops, and the others go on."""

import shutil
from pathlib import Path

from tests.support.faults import Scene
from tests.support.home_database import HomeDatabase, often_on_sqlite
from tests.support.log_audit import audit_all, audit_log

LOG = "log-a"
OTHER = "log-b"


def test_a_log_whose_database_was_restored_never_signs_again(
    stage: Scene, home_database: HomeDatabase
) -> None:
    stage.create(OTHER)
    stage.register_all(LOG, 3)
    stage.settle()
    home_database.back_up("yesterday")
    for _ in range(2):
        stage.register_all(LOG, 1)
        stage.settle()
    home_database.back_up("today")
    stage.stop()
    home_database.restore("yesterday")
    before = stage.sign_calls()

    # Nothing of what comes now changes that: neither ballots, nor time, nor a new start.
    for number in (90, 91):
        stage.start()
        assert stage.register(LOG, number).status == 202
        for _ in range(3):
            assert stage.run()["halted"] == {LOG: "DatabaseBehind"}
        stage.order("stop")
        stage.stop()
        assert stage.sign_calls() == before
    stage.start()
    stage.register_all(OTHER, 2)
    assert stage.run() == {"halted": {LOG: "DatabaseBehind"}, "busy": {}}
    assert [stage.fetch(OTHER, number) is None for number in (0, 1)] == [False, False]
    audit_log(stage, OTHER)
    stage.stop()

    # A person finds the database of today, and the election system repeats what it lacks.
    home_database.restore("today")
    stage.registered = {LOG: [0, 1, 2, 3, 4], OTHER: []}
    del stage.receipts[OTHER, 0], stage.receipts[OTHER, 1]
    stage.start()
    told = stage.run()
    # The other log went on while its database was yesterday's: now it is the one behind.
    assert told["halted"] == {OTHER: "DatabaseBehind"}
    audit_log(stage, LOG)


@often_on_sqlite
def test_a_restored_folder_is_brought_up_to_the_database(stage: Scene, tmp_path: Path) -> None:
    stage.register_all(LOG, 3)
    stage.settle()
    logs = stage.home.directory / "logs"
    shutil.copytree(logs, tmp_path / "logs")
    stage.register_all(LOG, 2)
    stage.settle()
    stage.stop()
    shutil.rmtree(logs)
    shutil.copytree(tmp_path / "logs", logs)
    stage.start()
    stage.register_all(LOG, 1)
    stage.settle()
    audit_all(stage)


@often_on_sqlite
def test_a_lost_folder_halts_the_log(stage: Scene) -> None:
    stage.register_all(LOG, 3)
    stage.settle()
    stage.stop()
    before = stage.sign_calls()
    shutil.rmtree(stage.home.directory / "logs")
    stage.start()
    stage.register_all(LOG, 1)
    assert stage.run()["halted"] == {LOG: "CheckpointFileMissing"}
    assert stage.sign_calls() == before
