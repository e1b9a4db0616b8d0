"""The worker's side of the audit: a sealer for each realm's log."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime

from signer.audit.sealing import Sealer, audit_origin, open_sealer
from signer.backend import SigningBackend
from signer.receipts.growth import StepObserver
from signer.receipts.tile_store import TileFolder
from webapi.kept_logs import KeptLogs
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.realm import Realm


class AuditLogs(KeptLogs[Sealer]):
    """The audit logs of all realms, in the one process that holds the audit key.

    Args:
        host: the service's, which is in the logs' names.
        log_of: gives a realm's log in the database; asked each time a log is opened.
        tiles: gives the folder of a realm's log.
        backend: gives what signs seals; asked each time a log is opened, so that a token that is
            away holds up nothing but the seals.
        observer: is told of each step of each seal.
    """

    def __init__(
        self,
        *,
        host: str,
        log_of: Callable[[Realm], SqlAuditLog],
        tiles: Callable[[Realm], TileFolder],
        backend: Callable[[], SigningBackend],
        observer: StepObserver,
    ) -> None:
        super().__init__()
        self._host = host
        self._log_of = log_of
        self._tiles = tiles
        self._backend = backend
        self._observer = observer

    def run_once(self, *, at: datetime) -> None:
        """Seal what waits, realm by realm."""
        for realm in Realm:
            self._try_log(str(realm), at=at)

    def count_unsealed(self) -> Mapping[str, int]:
        """How many entries wait in each realm."""
        return {str(realm): self._log_of(realm).count_unsealed() for realm in Realm}

    def _opened(self, log_id: str, stack: ExitStack, *, at: datetime) -> Sealer:
        realm = Realm(log_id)
        files = self._tiles(realm)
        stack.enter_context(files.locked())
        return open_sealer(
            log_id,
            audit_origin(self._host, log_id),
            records=self._log_of(realm),
            files=files,
            backend=self._backend(),
            at=at,
            observer=self._observer,
        )

    def _work(self, opened: Sealer, *, at: datetime) -> None:
        opened.run_once(at=at)
