"""The worker's side of elections: one sequencer per log, opened when an election appears."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from signer.backend import PayloadSigner
from signer.payload import Purpose
from signer.receipts.election import Manifest
from signer.receipts.errors import (
    FenceLost,
    RestoredFromBackup,
    SequencerHalted,
    SequencerRunning,
)
from signer.receipts.opening import open_sequencer
from signer.receipts.sequencer import Sequencer, StepObserver
from signer.receipts.tile_store import TileFolder
from webapi.elections.backoff import Backoff
from webapi.storage.elections import SqlElectionStore, StoredElection
from webapi.storage.log_holds import SqlLogHolds
from webapi.storage.log_store import SqlLogStore

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PublicationRules:
    """How far behind the public checkpoint stays.

    Attributes:
        epoch: how often it may advance.
        least: fewest entries by which it advances.
    """

    epoch: timedelta
    least: int


class ReceiptLogs:
    """All logs of this service, in the one process that holds the receipt keys.

    Args:
        elections: knows the elections.
        holds: knows which logs wait for a person since their database was put back.
        log: the logs' database.
        tiles: gives the folder of an election's log.
        signer: signs checkpoints.
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
        signer: PayloadSigner,
        purposes: Sequence[Purpose],
        publication: PublicationRules,
        observer: StepObserver,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._elections = elections
        self._holds = holds
        self._log = log
        self._tiles = tiles
        self._signer = signer
        self._purposes = purposes
        self._publication = publication
        self._observer = observer
        self._stopwatch = stopwatch
        self._open: dict[str, tuple[Sequencer, contextlib.ExitStack]] = {}
        self._halted: dict[str, str] = {}
        self._busy: dict[str, str] = {}
        self._backoff = Backoff()

    @property
    def halted(self) -> Mapping[str, str]:
        """Logs that wait for a person, with the name of the reason."""
        return dict(self._halted)

    def count_states(self) -> dict[str, int]:
        """How many logs are open here, in another process's hands, failing, halted."""
        return {
            "open": len(self._open),
            "busy": len(self._busy),
            "failing": self._backoff.count_failing(),
            "halted": len(self._halted),
        }

    def run_once(self, *, at: datetime) -> None:
        """Sequence and publish what is due, log by log.

        A log that halts, or fails for a while (a busy token, a full disk), leaves the others
        running at their pace. One that is on hold is let go until the hold is released.
        """
        held = self._holds.held()
        for stored in self._elections.list_all():
            election_id = stored.election_id
            self._heed_hold(election_id, is_held=election_id in held)
            if election_id in self._halted or self._is_finished(election_id, stored):
                continue
            if not self._backoff.is_pausing(election_id, at=at):
                self._try_log(election_id, stored, at=at)

    def close(self) -> None:
        """Release the locks of all logs."""
        for election_id in list(self._open):
            self._release(election_id)

    def _heed_hold(self, election_id: str, *, is_held: bool) -> None:
        """Halt a log that is on hold; take one up again whose hold was released.

        A log that halted for another reason stays as it is.
        """
        if is_held and election_id not in self._halted:
            self._halt(election_id, RestoredFromBackup("the log is on hold"))
        elif not is_held and self._halted.get(election_id) == RestoredFromBackup.__name__:
            del self._halted[election_id]

    def _try_log(self, election_id: str, stored: StoredElection, *, at: datetime) -> None:
        started = self._stopwatch()
        try:
            self._run_log(election_id, stored, at=at)
        except (SequencerRunning, FenceLost) as error:
            # Another process had or has the log; the records are compared anew next time.
            self._release(election_id)
            self._tell_busy(election_id, type(error).__name__)
        except SequencerHalted as error:
            self._halt(election_id, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other logs go on
            # Counted from now: what takes long to fail must not fail without a pause.
            took = timedelta(seconds=self._stopwatch() - started)
            failures = self._backoff.failed(election_id, at=at + took)
            # The class alone: the text of an error may hold what no log may.
            _log.error(
                "log_failed",
                election_id=election_id,
                error_class=type(error).__qualname__,
                failures=failures,
            )
        else:
            self._backoff.succeeded(election_id)
            self._busy.pop(election_id, None)

    def _run_log(self, election_id: str, stored: StoredElection, *, at: datetime) -> None:
        if election_id not in self._open:
            self._open[election_id] = self._opened(Manifest.parse(stored.manifest), at=at)
        sequencer, _ = self._open[election_id]
        epoch, least = self._publication.epoch, self._publication.least
        # Before the batch: what an epoch publishes was signed before the epoch began.
        sequencer.publish_due(at=at, epoch=epoch, least=least)
        sequencer.run_once(at=at)
        # Behind it: the genesis and the close record do not wait for an epoch.
        sequencer.publish_due(at=at, epoch=epoch, least=least)

    def _opened(
        self, manifest: Manifest, *, at: datetime
    ) -> tuple[Sequencer, contextlib.ExitStack]:
        files = self._tiles(manifest.election_id)
        with contextlib.ExitStack() as stack:
            stack.enter_context(files.locked())
            sequencer = open_sequencer(
                manifest,
                store=self._log,
                files=files,
                signer=self._signer,
                purposes=self._purposes,
                at=at,
                observer=self._observer,
            )
            return sequencer, stack.pop_all()

    def _is_finished(self, election_id: str, stored: StoredElection) -> bool:
        if not stored.is_closed_in_public:
            return False
        self._busy.pop(election_id, None)
        self._backoff.succeeded(election_id)
        self._release(election_id)
        return True

    def _tell_busy(self, election_id: str, reason: str) -> None:
        if self._busy.get(election_id) != reason:
            self._busy[election_id] = reason
            _log.warning("log_busy", election_id=election_id, reason=reason)

    def _halt(self, election_id: str, error: SequencerHalted) -> None:
        self._halted[election_id] = type(error).__name__
        self._release(election_id)
        _log.critical("log_halted", election_id=election_id, reason=type(error).__name__)

    def _release(self, election_id: str) -> None:
        opened = self._open.pop(election_id, None)
        if opened is not None:
            opened[1].close()
