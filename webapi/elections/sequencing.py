"""The worker's side of elections: one sequencer per log, opened when an election appears."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

from signer.backend import SigningBackend
from signer.payload import Purpose
from signer.receipts.election import Manifest
from signer.receipts.errors import RestoredFromBackup
from signer.receipts.growth import StepObserver
from signer.receipts.opening import open_sequencer
from signer.receipts.sequencer import Sequencer
from signer.receipts.tile_store import TileFolder
from webapi.kept_logs import KeptLogs
from webapi.storage.elections import SqlElectionStore
from webapi.storage.log_holds import SqlLogHolds
from webapi.storage.log_store import SqlLogStore


@dataclass(frozen=True, slots=True)
class PublicationRules:
    """How far behind the public checkpoint stays.

    Attributes:
        epoch: how often it may advance.
        least: fewest entries by which it advances.
    """

    epoch: timedelta
    least: int


class ReceiptLogs(KeptLogs[Sequencer]):
    """All logs of this service, in the one process that holds the receipt keys.

    Args:
        elections: knows the elections.
        holds: knows which logs wait for a person since their database was put back.
        log: the logs' database.
        tiles: gives the folder of an election's log.
        backend: signs checkpoints.
        purposes: the log keys that sign.
        publication: how far behind the public stays.
        observer: is told of each step of each batch.
        stopwatch: monotonic seconds.
    """

    def __init__(
        self,
        *,
        elections: SqlElectionStore,
        holds: SqlLogHolds,
        log: SqlLogStore,
        tiles: Callable[[str], TileFolder],
        backend: SigningBackend,
        purposes: Sequence[Purpose],
        publication: PublicationRules,
        observer: StepObserver,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stopwatch)
        self._elections = elections
        self._holds = holds
        self._log = log
        self._tiles = tiles
        self._backend = backend
        self._purposes = purposes
        self._publication = publication
        self._observer = observer

    def run_once(self, *, at: datetime) -> None:
        """Sequence and publish what is due, log by log.

        A log that is on hold is let go until the hold is released.
        """
        held = self._holds.held()
        for stored in self._elections.list_all():
            self._heed_hold(stored.election_id, is_held=stored.election_id in held)
            if not stored.is_closed_in_public:
                self._try_log(stored.election_id, at=at)
            elif stored.election_id not in self._halted:
                self._finish(stored.election_id)

    def _opened(self, log_id: str, stack: ExitStack, *, at: datetime) -> Sequencer:
        files = self._tiles(log_id)
        stack.enter_context(files.locked())
        return open_sequencer(
            Manifest.parse(self._elections.get(log_id).manifest),
            store=self._log,
            files=files,
            backend=self._backend,
            purposes=self._purposes,
            at=at,
            observer=self._observer,
        )

    def _heed_hold(self, election_id: str, *, is_held: bool) -> None:
        """Halt a log that is on hold; take one up again whose hold was released.

        A log that halted for another reason stays as it is.
        """
        if is_held and election_id not in self._halted:
            self._halt(election_id, RestoredFromBackup("the log is on hold"))
        elif not is_held and self._halted.get(election_id) == RestoredFromBackup.__name__:
            del self._halted[election_id]

    def _work(self, opened: Sequencer, *, at: datetime) -> None:
        epoch, least = self._publication.epoch, self._publication.least
        # Before the batch: what an epoch publishes was signed before the epoch began.
        opened.publish_due(at=at, epoch=epoch, least=least)
        opened.run_once(at=at)
        # Behind it: the genesis and the close record do not wait for an epoch.
        opened.publish_due(at=at, epoch=epoch, least=least)
