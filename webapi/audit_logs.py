"""The worker's side of the audit: a sealer for each realm's log."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime

from signer.audit.sealing import Sealer, audit_origin, open_sealer
from signer.backend import SigningBackend
from signer.receipts.growth import StepObserver
from webapi.audit_folders import AuditFolders
from webapi.kept_logs import KeptLogs
from webapi.put_back import PUT_BACK, compare_audit_log
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.realm import Realm


class AuditLogs(KeptLogs[Sealer]):
    """The audit logs of all realms, in the one process that holds the audit key.

    Args:
        host: the service's, which is in the logs' names.
        log_of: gives the active generation of a realm's log; asked each time a log is opened.
        folders: of all realms.
        backend: gives what signs seals; asked each time a log is opened, so that a token that is
            away holds up nothing but the seals.
        observer: is told of each step of each seal.
        contain: is told of a realm whose database was put back, before its log halts.
    """

    def __init__(
        self,
        *,
        host: str,
        log_of: Callable[[Realm], SqlAuditLog],
        folders: AuditFolders,
        backend: Callable[[], SigningBackend],
        observer: StepObserver,
        contain: Callable[[Realm], None],
    ) -> None:
        super().__init__()
        self._host = host
        self._log_of = log_of
        self._folders = folders
        self._backend = backend
        self._observer = observer
        self._contain = contain

    def run_once(self, *, at: datetime) -> None:
        """Seal what waits, realm by realm."""
        for realm in Realm:
            self._try_log(str(realm), at=at)

    def count_unsealed(self) -> Mapping[str, int]:
        """How many entries wait in each realm."""
        return {str(realm): self._log_of(realm).count_unsealed() for realm in Realm}

    def _opened(self, log_id: str, stack: ExitStack, *, at: datetime) -> Sealer:
        realm = Realm(log_id)
        log = self._log_of(realm)
        generation = log.generation.number
        files = self._folders.of(realm, generation)
        stack.enter_context(files.locked())
        # Before the token is asked for: it may be away, and this must not wait for it.
        compare_audit_log(log, self._folders)
        return open_sealer(
            log.log_id,
            audit_origin(self._host, log_id, generation),
            records=log,
            files=files,
            backend=self._backend(),
            at=at,
            observer=self._observer,
        )

    def _work(self, opened: Sealer, *, at: datetime) -> None:
        opened.run_once(at=at)

    def _run_log(self, log_id: str, *, at: datetime) -> None:
        try:
            super()._run_log(log_id, at=at)
        except PUT_BACK:
            # If it fails, the log does not halt yet, and all of this is tried again.
            self._contain(Realm(log_id))
            raise
