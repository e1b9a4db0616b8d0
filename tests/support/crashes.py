"""Crashes of the sequencer, where a test wants them."""

from collections.abc import Sequence

from signer.receipts.growth import Step
from signer.receipts.tile_store import TileFolder
from signer.receipts.tiles import TileAddress
from tests.support.receipts import ELECTION


class Crash(Exception):
    pass


class CrashBehind:
    """Ends the process, as far as the sequencer can tell, behind one step."""

    def __init__(self, step: Step, *, skip: int = 0) -> None:
        self.step = step
        self.skip = skip
        self.reached_steps: list[Step] = []

    def reached(self, step: Step, election_id: str) -> None:
        assert election_id == ELECTION
        self.reached_steps.append(step)
        if step is self.step:
            self.skip -= 1
            if self.skip < 0:
                raise Crash(step)


class CrashingFiles(TileFolder):
    """Ends the process in the middle of writing files."""

    left: int = 0

    def write(self, files: Sequence[tuple[TileAddress, bytes]], *, slot: int) -> None:
        if CrashingFiles.left == 0:
            raise Crash("files")
        CrashingFiles.left -= 1
        super().write(files, slot=slot)
