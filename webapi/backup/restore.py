"""Putting a backup back, so that nothing that was signed or revoked since is forgotten unseen.

1. The backup is copied to where nobody else can change it. The copy is verified, of this service,
   and of this very version and kind of databases; from here on nothing else is read.
2. No worker of the service is at work, and all databases are empty: nothing was changed so far. The
   lease and the locks of all logs are ours.
3. Tables that are missing are made.
4. Checkpoint files: one that is in a log's folder and not older than the backup's stays. It is the
   witness that the backup is old.
   Audit logs get the file that pins their key and no checkpoint: whoever has newer seals must
   first be asked, and until then they halt.
5. Each realm's rows, with holds on every log that may have grown and on the responder's answers.
   Sessions and challenges are not loaded.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from signer.receipts.acceptance import slot_of
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import FormatRefused, SequencerRunning
from signer.receipts.note import UnverifiedNote
from signer.receipts.tile_store import TileFolder
from webapi.audit_folders import AuditFolders
from webapi.backup.errors import BackupOriginOther, BackupVersionOther, ServiceRunning
from webapi.backup.folder import taken_copy
from webapi.backup.manifest import BackupManifest, LogRecord
from webapi.backup.verify import examine_backup
from webapi.storage.realm import Realm
from webapi.storage.realm_database import RealmDatabase, Restored


class Lease(Protocol):
    """`webapi.storage.lease.WorkerLease`."""

    def acquire(self) -> bool:
        """Take it if nobody has it."""

    def release(self) -> None:
        """Give it up."""


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """Where a backup is put.

    Attributes:
        origin: the service's.
        databases: all realms, as the owner of their tables connects.
        lease: which the active worker holds.
        log_directory: holds a folder for each log.
        audit_directory: holds a folder for each realm's audit log.
        work_directory: has room for a copy of the backup, for the while.
    """

    origin: str
    databases: Mapping[Realm, RealmDatabase]
    lease: Lease
    log_directory: Path
    audit_directory: Path
    work_directory: Path


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a person must know afterwards.

    Attributes:
        manifest: the backup's.
        held: logs on hold.
        witnesses: logs in whose folder a checkpoint stayed that is newer than the backup's, or
            cannot be read.
        unknown: folders of logs that the backup does not know.
        audit_halted: realms whose audit log's folder lacks a checkpoint.
    """

    manifest: BackupManifest
    held: tuple[str, ...]
    witnesses: tuple[str, ...]
    unknown: tuple[str, ...]
    audit_halted: tuple[Realm, ...]


def restore_backup(
    folder: Path, target: RestoreTarget, *, at: datetime, fingerprint: str | None
) -> RestoreReport:
    """Put a backup back.

    Args:
        folder: the backup.
        target: where to.
        at: now, aware UTC.
        fingerprint: of the manifest, None where nobody noted it.

    Raises:
        BackupError: a subclass: it is not whole, of another service or version.
        ServiceRunning: a worker is at work.
        webapi.storage.realm_copies.DatabaseNotEmpty: a database holds rows.
    """
    with contextlib.ExitStack() as stack:
        # (1)
        folder = stack.enter_context(taken_copy(folder, target.work_directory))
        manifest = _examined(folder, fingerprint)
        if manifest.origin != target.origin:
            raise BackupOriginOther(f"the backup is of {manifest.origin}, not of {target.origin}")
        _require_same_kind(manifest, target.databases)
        # (2)
        _keep_workers_out(manifest, target, stack)
        # (3)
        for realm in sorted(target.databases):
            target.databases[realm].make_ready()
        slot = slot_of(at)
        # (4)
        witnesses = [
            log.log_id
            for log in manifest.logs
            if log.checkpoint and not _put_back(folder, log, target.log_directory, slot=slot)
        ]
        audit_halted = _put_back_audit_keys(folder, manifest, target, slot=slot)
        # (5)
        held = tuple(log.log_id for log in manifest.logs if not log.finished)
        restored = Restored(held, manifest.made_at, at, slot)
        for realm, record in sorted(manifest.databases.items()):
            target.databases[realm].load(folder / record.file, restored)
    unknown = _unknown_folders(manifest, target.log_directory)
    return RestoreReport(manifest, held, tuple(witnesses), unknown, audit_halted)


def _examined(folder: Path, fingerprint: str | None) -> BackupManifest:
    report = examine_backup(folder, fingerprint=fingerprint)
    for difference in report.findings:
        raise difference
    if report.manifest is None:
        raise TypeError("a backup without a manifest is a finding")
    return report.manifest


def _require_same_kind(manifest: BackupManifest, databases: Mapping[Realm, RealmDatabase]) -> None:
    for realm, record in sorted(manifest.databases.items()):
        ours = databases[realm]
        if record.engine != ours.kind:
            raise BackupVersionOther(
                f"the {realm} database was {record.engine}, and this one is {ours.kind}"
            )
        if record.version != ours.version:
            raise BackupVersionOther(
                f"the {realm} database is of version {record.version}, this program of "
                f"{ours.version}: restore with version {manifest.service}, then upgrade"
            )


def _keep_workers_out(
    manifest: BackupManifest, target: RestoreTarget, stack: contextlib.ExitStack
) -> None:
    for realm in sorted(target.databases):
        target.databases[realm].make_place()
    if not target.lease.acquire():
        raise ServiceRunning("a worker of the service runs: stop every process of it first")
    stack.callback(target.lease.release)
    for realm in sorted(target.databases):
        target.databases[realm].require_unused()
    for log in manifest.logs:
        files = TileFolder(target.log_directory / log.log_id)
        try:
            stack.enter_context(files.locked())
        except SequencerRunning as error:
            raise ServiceRunning(f"a worker has the log of {log.log_id}: stop it first") from error


def _put_back(folder: Path, log: LogRecord, log_directory: Path, *, slot: int) -> bool:
    """Write a log's checkpoint file unless a newer one is there, which stays: False then."""
    files = TileFolder(log_directory / log.log_id)
    note = (folder / log.checkpoint).read_bytes()
    present = files.read_checkpoint()
    if present is not None:
        try:
            size = _size(present)
        except FormatRefused:
            return False
        if size >= _size(note):
            return size == _size(note)
    files.write_checkpoint(note, slot=slot)
    return True


def _put_back_audit_keys(
    folder: Path, manifest: BackupManifest, target: RestoreTarget, *, slot: int
) -> tuple[Realm, ...]:
    """Pin the keys of audit logs again where nothing pins them; the realms without a checkpoint."""
    halted = []
    for realm, log in sorted(manifest.audit.items()):
        copies = target.databases[realm].copies
        copied = copies.audit_log(folder / manifest.databases[realm].file, realm)
        files = AuditFolders(target.audit_directory).of(realm, copied.generation)
        if log.policy and files.read_policy() is None:
            files.write_policy((folder / log.policy).read_bytes(), slot=slot)
        if log.size and files.read_checkpoint() is None:
            halted.append(realm)
    return tuple(halted)


def _size(note: bytes) -> int:
    return Checkpoint.parse(UnverifiedNote.parse(note).text).size


def _unknown_folders(manifest: BackupManifest, log_directory: Path) -> tuple[str, ...]:
    known: Sequence[str] = [log.log_id for log in manifest.logs]
    if not log_directory.is_dir():
        return ()
    return tuple(sorted(path.name for path in log_directory.iterdir() if path.name not in known))
