"""`tamga audit begin-anew`: the way out of an audit log that can never be sealed again.

1. No worker is at work: the lease and the log's lock are ours.
2. The log is behind its folder, or its folder is lost, and nothing else is wrong with it.
3. The keys that the old folder pins are pinned in the new one; the old one stays as it is.
4. In one transaction: the generation's row, its first entry, and whatever was not sealed waits
   again. Until then nothing has changed but a folder that holds a policy.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from signer.audit.entry import BegunAnew
from signer.audit.generations import (
    AuditGenerationLog,
    Impasse,
    require_impasse,
    unknown_impasse,
)
from signer.audit.records import StoredGeneration
from signer.audit.sealing import audit_log_id, audit_origin, renamed
from signer.receipts.acceptance import slot_of
from signer.receipts.errors import DatabaseBehind, SequencerRunning
from signer.receipts.leaf import SLOT_SECONDS
from signer.receipts.policy import LogKeys, serialise_policy
from signer.receipts.tile_store import TileFolder
from webapi.audit_folders import AuditFolders
from webapi.storage.audit_generations import AuditGeneration, SqlAuditGenerations
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.realm import Realm
from webapi.storage.times import to_unix


class AuditLogInUse(Exception):
    """A worker of the service is at work."""


class Lease(Protocol):
    """`webapi.storage.lease.WorkerLease`."""

    def acquire(self) -> bool:
        """Take it if nobody has it."""

    def release(self) -> None:
        """Give it up."""


@dataclass(frozen=True, slots=True)
class RealmAudit:
    """One realm's audit log with all its generations.

    Attributes:
        realm: which one.
        host: the service's, which is in the logs' names.
        generations: says which there are.
        log_of: a generation's entries and checkpoints.
        folders: of all realms.
    """

    realm: Realm
    host: str
    generations: SqlAuditGenerations
    log_of: Callable[[AuditGeneration], SqlAuditLog]
    folders: AuditFolders

    def opened(self) -> tuple[AuditGenerationLog, ...]:
        """All generations that the database knows, the oldest first."""
        given_up = {stored.previous: stored for stored in self.generations.stored()}
        return tuple(
            self._opened(generation, given_up.get(self.origin(generation.number)))
            for generation in self.generations.all()
        )

    def behind(self) -> DatabaseBehind | None:
        """What shows that the database lacks the last generation; None where nothing does."""
        try:
            self.folders.require_none_later(self.realm, self.generations.active().number)
        except DatabaseBehind as difference:
            return difference
        return None

    def origin(self, number: int) -> str:
        """The name of a generation."""
        return audit_origin(self.host, str(self.realm), number)

    def _opened(
        self, generation: AuditGeneration, given_up: StoredGeneration | None
    ) -> AuditGenerationLog:
        number = generation.number
        return AuditGenerationLog(
            number=number,
            origin=self.origin(number),
            log_id=audit_log_id(str(self.realm), number),
            log=self.log_of(generation),
            files=self.folders.of(self.realm, number),
            given_up=given_up,
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """What the person must publish.

    Attributes:
        origin: of the new generation.
        keys: that are pinned for it; None where the old folder lost them, and the worker pins
            the key that it has.
        entry: what it begins with.
    """

    origin: str
    keys: LogKeys | None
    entry: BegunAnew


def begin_anew(audit: RealmAudit, lease: Lease, *, because: str, at: datetime) -> Begun:
    """Give a realm's audit log up, and begin a new generation of it.

    Raises:
        AuditLogInUse: a worker is at work.
        AuditEntryMalformed: the reason is empty, too long, or has control characters.
        AuditLogUsable: the log goes on as it is, or something else is wrong with it, too.
        AuditKeyMalformed: the old folder pins no P-256 keys of the log.
        FenceLost: somebody else began a generation at the same time.
    """
    with ExitStack() as stack:
        # (1)
        if not lease.acquire():
            raise AuditLogInUse("a worker of the service runs: stop every process of it first")
        stack.callback(lease.release)
        active = audit.generations.active()
        last = max(active.number, audit.folders.newest(audit.realm))
        if audit.folders.exists(audit.realm, last):
            _take_lock(audit.folders.of(audit.realm, last), stack)
        # (2)
        if last > active.number:
            impasse = unknown_impasse(audit.origin(last), audit.folders.of(audit.realm, last))
        else:
            impasse = require_impasse(audit.opened()[-1])
        entry = _entry(impasse, last + 1, because, _time(audit.realm, at))
        # (3)
        origin = audit.origin(entry.generation)
        keys = None if impasse.keys is None else renamed(impasse.keys, origin)
        if keys is not None:
            files = audit.folders.of(audit.realm, entry.generation)
            files.write_policy(serialise_policy(keys.keys), slot=slot_of(at))
        # (4)
        audit.generations.begin(entry, after=active)
    return Begun(origin, keys, entry)


def _take_lock(files: TileFolder, stack: ExitStack) -> None:
    try:
        stack.enter_context(files.locked())
    except SequencerRunning as error:
        raise AuditLogInUse("a worker has this audit log: stop it first") from error


def _entry(impasse: Impasse, number: int, because: str, at: int) -> BegunAnew:
    known = impasse.known
    return BegunAnew(
        generation=number,
        previous=impasse.origin,
        known_size=0 if known is None else known.size,
        known_root=b"" if known is None else known.root,
        database_size=impasse.database_size,
        at=at,
        reason=because.strip(),
    )


def _time(realm: Realm, at: datetime) -> int:
    """Unix time; beside ballots the beginning of the ten-minute slot."""
    return slot_of(at) * SLOT_SECONDS if realm is Realm.BALLOTS else to_unix(at)
