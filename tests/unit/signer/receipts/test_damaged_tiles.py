"""Disks that lose and change bytes: found before a signature and before a receipt goes out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import text

from signer.receipts.errors import DatabaseBehind, TilesDamaged
from signer.receipts.growth import Step
from signer.receipts.sequencer import Sequenced
from signer.receipts.tile_store import TileFolder
from signer.receipts.tiles import TileAddress
from tests.support.crashes import Crash, CrashBehind
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW


@pytest.fixture
def disk(tmp_path: Path) -> ReceiptDisk:
    made = ReceiptDisk(tmp_path).create()
    assert made.sequencer().run_once(at=NOW) == Sequenced(1, 1)
    return made


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])
def test_any_damaged_tile_is_made_anew_at_the_opening(
    disk: ReceiptDisk, damage: Callable[[Path], None]
) -> None:
    for number in range(300):
        disk.register(number)
    disk.sequencer().run_once(at=NOW)
    log = disk.folder / "logs" / ELECTION
    names = ["entries/000", "0/000", "1/000.p/1", "entries/001.p/45", "0/001.p/45"]
    for name in names:
        good = (log / "tile" / name).read_bytes()
        damage(log / "tile" / name)
        disk.sequencer()
        assert (log / "tile" / name).read_bytes() == good
    assert len(list(log.glob("tile.damaged-*"))) == len(names)
    disk.register(300)
    assert disk.sequencer().run_once(at=NOW) == Sequenced(302, 1)
    assert disk.verified(300).size == 302


def test_whole_tiles_stay_where_they_are(disk: ReceiptDisk) -> None:
    disk.register(0)
    disk.sequencer().run_once(at=NOW)
    disk.sequencer()
    assert not list((disk.folder / "logs" / ELECTION).glob("tile.damaged-*"))


def test_a_malformed_tile_does_not_hide_that_the_database_is_behind(disk: ReceiptDisk) -> None:
    disk.register(0)
    with pytest.raises(Crash):
        disk.sequencer(observer=CrashBehind(Step.TILES_WRITTEN)).run_once(at=NOW)
    with disk.engine.begin() as connection:
        connection.execute(text("delete from log_entries where seq = 1"))
    truncate(disk.folder / "logs" / ELECTION / "tile" / "0" / "000.p" / "2")
    with pytest.raises(DatabaseBehind, match="entries beyond"):
        disk.sequencer()


def test_a_disk_that_damages_what_is_made_anew_halts(disk: ReceiptDisk) -> None:
    (disk.folder / "logs" / ELECTION / "tile" / "0" / "000.p" / "1").unlink()
    disk.files = files = DamagingFiles(disk.folder / "logs" / ELECTION)
    files.kind = 0
    with pytest.raises(TilesDamaged, match="made anew"):
        disk.sequencer()


class DamagingFiles(TileFolder):
    """A disk that flips a bit of what is written."""

    kind: int | None = None

    def write(self, files: Sequence[tuple[TileAddress, bytes]], *, slot: int) -> None:
        super().write(
            [
                (address, data[:-1] + bytes([data[-1] ^ 1]) if address.level == self.kind else data)
                for address, data in files
            ],
            slot=slot,
        )


@pytest.mark.parametrize("kind", [None, 0])
def test_a_bit_flip_on_the_disk_is_found_before_signing(
    disk: ReceiptDisk, kind: int | None
) -> None:
    disk.register(0)
    files = DamagingFiles(disk.folder / "logs" / ELECTION)
    files.kind = kind
    disk.files = files
    sequencer = disk.sequencer()
    disk.election.signer.signed.clear()
    with pytest.raises(TilesDamaged):
        sequencer.run_once(at=NOW)
    assert disk.election.signer.signed == []


def test_a_bit_flip_in_an_upper_tile_is_found_before_signing(disk: ReceiptDisk) -> None:
    files = DamagingFiles(disk.folder / "logs" / ELECTION)
    files.kind = 1
    disk.files = files
    for number in range(256):
        disk.register(number)
    with pytest.raises(TilesDamaged, match="another root"):
        disk.sequencer().run_once(at=NOW)


class DamageBehind:
    """Damages a tile behind one step."""

    def __init__(self, step: Step, tile: Path) -> None:
        self.step = step
        self.tile = tile

    def reached(self, step: Step, election_id: str) -> None:
        if step is self.step and self.tile.exists():
            flip(self.tile)


@pytest.mark.parametrize("step", [Step.TILES_WRITTEN, Step.COMMITTED])
def test_tiles_that_are_damaged_meanwhile_are_made_anew(disk: ReceiptDisk, step: Step) -> None:
    for number in range(300):
        disk.register(number)
    log = disk.folder / "logs" / ELECTION
    sequencer = disk.sequencer(observer=DamageBehind(step, log / "tile" / "0" / "000"))
    assert sequencer.run_once(at=NOW) == Sequenced(301, 300)
    assert {disk.verified(number).size for number in range(300)} == {301}
    assert len(list(log.glob("tile.damaged-*"))) == 1


@pytest.mark.parametrize("name", ["0/000.p/2", "entries/000.p/2"])
def test_a_newest_tile_that_is_damaged_between_batches(disk: ReceiptDisk, name: str) -> None:
    sequencer = disk.sequencer()
    disk.register(0)
    sequencer.run_once(at=NOW)
    (disk.folder / "logs" / ELECTION / "tile" / name).write_bytes(b"short")
    disk.register(1)
    assert sequencer.run_once(at=NOW) == Sequenced(3, 1)
    assert disk.verified(1).index == 2


class DamagingReads(TileFolder):
    """A disk that reads hashes wrongly from one step on."""

    damaging = False

    def read(self, level: int | None, number: int) -> bytes | None:
        data = super().read(level, number)
        if not self.damaging or level != 0 or data is None:
            return data
        return bytes([data[0] ^ 1]) + data[1:]

    def reached(self, step: Step, election_id: str) -> None:
        self.damaging = step is Step.CHECKPOINT_FILE_WRITTEN


def test_no_receipt_goes_out_whose_path_is_wrong_again(disk: ReceiptDisk) -> None:
    disk.register(0)
    disk.files = files = DamagingReads(disk.folder / "logs" / ELECTION)
    with pytest.raises(TilesDamaged, match="another root than was signed"):
        disk.sequencer(observer=files).run_once(at=NOW)
    assert disk.receipt(0) is None
    # Another disk, and the same bytes as were signed.
    disk.files = TileFolder(disk.folder / "logs" / ELECTION)
    disk.sequencer().run_once(at=NOW)
    assert disk.verified(0).size == 2
