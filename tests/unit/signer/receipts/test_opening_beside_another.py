"""Records compared while another sequencer goes on: no contradiction is seen where none is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from signer.receipts.inspection import inspect_log
from signer.receipts.opening import open_sequencer
from signer.receipts.sequencer import SilentObserver
from signer.receipts.tile_store import TileFolder
from tests.support.databases import Database
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW, PURPOSES


class BusyFolder(TileFolder):
    """A folder in which something happens just before it is read for the first time."""

    def __init__(self, folder: Path, *, before_file: bool, happen: Callable[[], None]) -> None:
        super().__init__(folder)
        self.before_file = before_file
        self.happen: Callable[[], None] | None = happen

    def _meanwhile(self) -> None:
        happen, self.happen = self.happen, None
        if happen is not None:
            happen()

    def read_checkpoint(self) -> bytes | None:
        if self.before_file:
            self._meanwhile()
        return super().read_checkpoint()

    def read(self, level: int | None, number: int) -> bytes | None:
        if not self.before_file:
            self._meanwhile()
        return super().read(level, number)


@pytest.mark.parametrize("before_file", [True, False])
@pytest.mark.parametrize("opening", [True, False])
def test_a_log_that_grows_meanwhile_is_not_taken_for_a_restored_one(
    tmp_path: Path, database: Database, *, before_file: bool, opening: bool
) -> None:
    disk = ReceiptDisk(tmp_path, database=database).create()
    other = disk.sequencer()
    other.run_once(at=NOW)
    disk.register(0)

    def grow() -> None:
        assert other.run_once(at=NOW) is not None

    files = BusyFolder(tmp_path / "logs" / ELECTION, before_file=before_file, happen=grow)
    if opening:
        open_sequencer(
            disk.manifest,
            store=disk.log,
            files=files,
            signer=disk.election.signer,
            purposes=PURPOSES,
            at=NOW,
            observer=SilentObserver(),
        )
    else:
        assert inspect_log(disk.manifest, store=disk.log, files=files) == ()
    assert files.happen is None
    disk.verified(0)
