"""A database from an earlier day under a folder of today: nothing that has ended since is open.

The newest seal in a realm's audit folder is larger than what its database knows, or of another
tree. Whoever sees that, needs no key for it: the worker, the responder, `tamga doctor`.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy import Engine

from signer.receipts.errors import DatabaseBehind, LogForked, SequencerHalted
from signer.receipts.opening import compare_with_checkpoint_file
from webapi.audit_folders import AuditFolders
from webapi.storage.answer_holds import AnswerHoldReason, SqlAnswerHolds
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.errors import StorageError
from webapi.storage.open_logins import remove_open_logins
from webapi.storage.realm import Realm

_log = structlog.get_logger(__name__)

PUT_BACK = (DatabaseBehind, LogForked)
"""How a comparison shows it."""

LOOK_SECONDS = 2.0


class RecordsDoubtful(StorageError):
    """The database is of an earlier day, or it cannot be compared: nothing is said out of it."""


def compare_audit_log(log: SqlAuditLog, folders: AuditFolders) -> None:
    """Compare the newest seal in a realm's folder with its database; needs no key.

    Args:
        log: the active generation.
        folders: of all realms.

    Raises:
        DatabaseBehind, LogForked: the database was put back.
        SequencerHalted: another subclass: the folder does not say.
        OSError: the folder cannot be read.
    """
    number = log.generation.number
    folders.require_none_later(log.realm, number)
    compare_with_checkpoint_file(log, folders.of(log.realm, number), log.log_id)


class RecordsWatch:
    """Lets nothing be said out of a realm's records while they are older than the audit folder.

    Ask behind each reading of them. What was found is kept for LOOK_SECONDS, and no longer than
    the connections to the database: no other can take its place unseen.

    Args:
        compare: as `compare_audit_log`.
        stopwatch: monotonic seconds.
    """

    def __init__(
        self, compare: Callable[[], None], stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        self._compare = compare
        self._stopwatch = stopwatch
        self._lock = threading.Lock()
        self._due = stopwatch()
        self._doubt: str | None = None

    def expire(self) -> None:
        """Compare anew next time; tell it of each new connection."""
        self._due = self._stopwatch()

    def require_agreement(self) -> None:
        """Raises RecordsDoubtful, and whatever StorageError the comparison meets."""
        with self._lock:
            now = self._stopwatch()
            if now >= self._due:
                self._due = now + LOOK_SECONDS
                try:
                    self._look()
                except StorageError:
                    self.expire()
                    raise
            doubt = self._doubt
        if doubt is not None:
            raise RecordsDoubtful(f"the records are in doubt: {doubt}")

    def _look(self) -> None:
        before, self._doubt = self._doubt, None
        try:
            self._compare()
        except (SequencerHalted, OSError) as error:
            # Also where the folder does not say: an old database may have come with its loss.
            self._doubt = type(error).__name__
        if self._doubt not in (None, before):
            _log.critical("records_in_doubt", reason=self._doubt)


class Containment:
    """What is done to a realm whose database was found to be put back.

    Args:
        engine: gives a realm's database.
        now: gives aware UTC.
    """

    def __init__(self, engine: Callable[[Realm], Engine], now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._now = now

    def __call__(self, realm: Realm) -> None:
        """Close what an earlier day left open; again each time that it is found.

        - login: sessions and challenges that have ended since are there again, so all of them are
          removed. Signing in goes on, with new challenges.
        - pki: suspensions and revocations are lost, so all answers are put on hold.
        - ballots: each ballot log compares itself with its own folder.

        Raises:
            StorageError: a subclass.
        """
        match realm:
            case Realm.LOGIN:
                removed = remove_open_logins(self._engine(realm))
                _log.critical("logins_removed", removed=removed)
            case Realm.PKI:
                holds = SqlAnswerHolds(self._engine(realm))
                if holds.place(reason=AnswerHoldReason.BEHIND, at=self._now()):
                    _log.critical("answers_held")
            case Realm.BALLOTS:
                pass
