"""`tamga log verify` and `tamga log rebuild`: what differs, and tiles byte for byte as before."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete, update

from signer.receipts.growth import Step
from tests.support.crashes import Crash, CrashBehind
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW, TrialElection
from webapi.cli.logs import LogArchive, log
from webapi.storage.ballot_log import log_checkpoints, log_entries
from webapi.storage.log_holds import SqlLogHolds

TRIAL = TrialElection()
BALLOTS = 300  # so that there is a full tile, and a level above it


class Desk:
    def __init__(self, folder: Path) -> None:
        self.disk = ReceiptDisk(folder, TRIAL)
        self.logs = folder / "logs"
        self.folder = self.logs / ELECTION

    def run(self, *arguments: str) -> Result:
        archive = LogArchive(
            self.disk.elections, self.disk.log, SqlLogHolds(self.disk.engine), self.logs
        )
        return CliRunner().invoke(log, arguments, obj=lambda: archive)

    def verify(self) -> Result:
        return self.run("verify", ELECTION)

    def rebuild(self) -> Result:
        return self.run("rebuild", ELECTION)

    def tiles(self) -> dict[str, bytes]:
        root = self.folder / "tile"
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file()
        }

    def sql(self, statement: object) -> None:
        with self.disk.engine.begin() as connection:
            connection.execute(statement)  # type: ignore[call-overload]  # any statement


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of three checkpoints."""
    folder = tmp_path_factory.mktemp("pattern")
    disk = ReceiptDisk(folder, TRIAL).create()
    sequencer = disk.sequencer()
    sequencer.run_once(at=NOW)
    for number in range(BALLOTS):
        disk.register(number)
        if number in (5, BALLOTS - 1):
            sequencer.run_once(at=NOW)
    disk.engine.dispose()
    return folder


@pytest.fixture
def desk(pattern: Path, tmp_path: Path) -> Desk:
    shutil.copytree(pattern, tmp_path, dirs_exist_ok=True)
    return Desk(tmp_path)


def test_an_unknown_election_is_told(desk: Desk) -> None:
    for command in ("verify", "rebuild"):
        done = desk.run(command, "no-such-election")
        assert done.exit_code == 1
        assert "no such election" in done.output
        assert not (desk.logs / "no-such-election").exists()


def test_a_sound_log_verifies_and_is_left_alone(desk: Desk) -> None:
    done = desk.verify()
    assert done.exit_code == 0, done.output
    assert f"{BALLOTS + 1} entries signed" in done.output
    before = {path: path.stat().st_mtime_ns for path in desk.folder.rglob("*")}
    assert "nothing was changed" in desk.rebuild().output
    after = {
        path: path.stat().st_mtime_ns for path in desk.folder.rglob("*") if path.name != "lock"
    }
    assert {path: before.get(path) for path in after if path != desk.folder} == {
        path: time for path, time in after.items() if path != desk.folder
    }


def test_a_log_that_signed_nothing_yet_verifies(tmp_path: Path) -> None:
    made = Desk(tmp_path)
    made.disk.create()
    assert made.verify().exit_code == 0


def test_a_log_that_stopped_between_two_steps_verifies(tmp_path: Path) -> None:
    for step in Step:
        (tmp_path / step.name).mkdir()
        made = Desk(tmp_path / step.name)
        made.disk.create()
        made.disk.register(0)
        made.disk.sequencer().run_once(at=NOW)
        made.disk.register(1)
        crashing = made.disk.sequencer(observer=CrashBehind(step))
        with pytest.raises(Crash):
            crashing.run_once(at=NOW)
        done = made.verify()
        assert done.exit_code == 0, (step, done.output)


def damage(path: str) -> Callable[[Path], None]:
    def flip(tiles: Path) -> None:
        data = bytearray((tiles / path).read_bytes())
        data[-1] ^= 1
        (tiles / path).write_bytes(data)

    return flip


def lose(path: str) -> Callable[[Path], None]:
    return lambda tiles: (tiles / path).unlink()


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (damage("entries/000"), "tile/entries/000 "),
        (damage("0/001.p/45"), "tile/0/001.p/45 "),
        (damage("1/000.p/1"), "tile/1/000.p/1 "),
        (lose("0/000"), "tile/0/000 "),
        (shutil.rmtree, "tile/entries/000 "),
    ],
)
def test_damaged_tiles_are_named_and_made_again_byte_for_byte(
    desk: Desk, harm: Callable[[Path], None], named: str
) -> None:
    before = desk.tiles()
    harm(desk.folder / "tile")
    damaged = desk.tiles()
    assert damaged != before
    told = desk.verify()
    assert told.exit_code == 1
    assert f"TilesDamaged: {named}" in told.output
    assert desk.tiles() == damaged  # looking changes nothing

    done = desk.rebuild()
    assert done.exit_code == 0, done.output
    assert desk.tiles() == before
    aside = list(desk.folder.glob("tile.damaged-*"))
    assert len(aside) == (1 if damaged else 0)
    assert desk.verify().exit_code == 0


def test_what_the_worker_has_is_not_rebuilt(desk: Desk) -> None:
    damage("entries/000")(desk.folder / "tile")
    damaged = desk.tiles()
    with desk.disk.files.locked():
        done = desk.rebuild()
    assert done.exit_code == 1
    assert "stop it first" in done.output
    assert desk.tiles() == damaged


@pytest.mark.parametrize(
    ("statement", "differences"),
    [
        (
            update(log_entries).where(log_entries.c.seq == 3).values(entry=b"another"),
            ["LogForked: the database's entries do not have the root signed for size 7"],
        ),
        (
            delete(log_checkpoints).where(log_checkpoints.c.size == 7),
            ["LogForked: the database lacks the checkpoint of size 7"],
        ),
        (
            update(log_checkpoints).where(log_checkpoints.c.size == 7).values(previous_size=8),
            ["LogForked: the checkpoint of size 7 follows a larger one"],
        ),
        (
            update(log_checkpoints).where(log_checkpoints.c.size == 7).values(root=bytes(32)),
            ["LogForked: the database's entries do not have the root signed for size 7"],
        ),
        (
            delete(log_checkpoints).where(log_checkpoints.c.size > 7),
            ["DatabaseBehind: the disk has a checkpoint of size 301"],
        ),
        (
            delete(log_entries).where(log_entries.c.seq > 6),
            ["DatabaseBehind: the database signed more", "DatabaseBehind: the disk has entries"],
        ),
    ],
)
def test_a_database_that_contradicts_itself_or_the_disk_is_told_and_not_mended(
    desk: Desk, statement: object, differences: list[str]
) -> None:
    before = desk.tiles()
    desk.sql(statement)
    told = desk.verify()
    assert told.exit_code == 1
    for difference in differences:
        assert difference in told.output
    done = desk.rebuild()
    assert done.exit_code == 1
    assert "refused" in done.output
    assert differences[0].split(":", 1)[0] in done.output
    assert desk.tiles() == before


def test_a_checkpoint_by_another_key_is_told(desk: Desk) -> None:
    older = desk.disk.log.checkpoint(ELECTION, 7)
    assert older is not None
    first, second = older.note.rsplit(b"\xe2\x80\x94", 1)
    desk.sql(
        update(log_checkpoints).where(log_checkpoints.c.size == 7).values(note=first or second)
    )
    told = desk.verify()
    assert told.exit_code == 1
    assert "KeysChanged" in told.output


@pytest.mark.parametrize(
    ("contents", "difference"),
    [(None, "CheckpointFileMissing"), (b"nonsense", "CheckpointFileMalformed")],
)
def test_without_its_checkpoint_file_nothing_is_mended(
    desk: Desk, contents: bytes | None, difference: str
) -> None:
    (desk.folder / "checkpoint").unlink()
    if contents is not None:
        (desk.folder / "checkpoint").write_bytes(contents)
    damage("entries/000")(desk.folder / "tile")
    told = desk.verify()
    assert [line.split(":")[0] for line in told.output.splitlines()] == [difference, "TilesDamaged"]
    assert difference in desk.rebuild().output
