"""Making a backup beside the running service.

1. The newest checkpoint file of every log is copied first.
2. Each realm's database is copied afterwards, as it is at one moment. A sequencer writes the
   database before the file, so a copied database is never behind the copied files.
3. The manifest states what the copies hold.
4. All of it is verified as `tamga backup verify` does, before it gets its name.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from signer.receipts.acceptance import slot_of
from signer.receipts.election import Manifest
from signer.receipts.tile_store import TileFolder
from webapi.audit_folders import AuditFolders
from webapi.backup.folder import MANIFEST, new_folder, record_files, write_file
from webapi.backup.manifest import AuditRecord, BackupManifest, DatabaseRecord, LogRecord
from webapi.backup.verify import examine_backup
from webapi.storage.elections import SqlElectionStore
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import CopiedLog
from webapi.storage.realm_database import RealmDatabase


@dataclass(frozen=True, slots=True)
class BackupSource:
    """What a backup is made of.

    Attributes:
        origin: the service's.
        service: its version.
        databases: all realms.
        elections: knows the logs.
        log_directory: holds a folder for each log.
        audit_directory: holds a folder for each realm's audit log.
    """

    origin: str
    service: str
    databases: Mapping[Realm, RealmDatabase]
    elections: SqlElectionStore
    log_directory: Path
    audit_directory: Path


@dataclass(frozen=True, slots=True)
class MadeBackup:
    """What was made.

    Attributes:
        manifest: its manifest.
        fingerprint: SHA-256 of the manifest's bytes, 64 hexadecimal digits.
    """

    manifest: BackupManifest
    fingerprint: str


def create_backup(source: BackupSource, target: Path, *, at: datetime) -> MadeBackup:
    """Make a backup under a name that is free.

    Raises:
        BackupExists: the name is not.
        BackupError, webapi.storage.errors.StorageError: a subclass; nothing is left behind.
    """
    with new_folder(target) as folder:
        # (1)
        checkpoints = _copy_checkpoints(source, folder)
        audit = {realm: _copy_audit_files(source, realm, folder) for realm in Realm}
        # (2)
        databases = {
            realm: _copy_database(database, folder)
            for realm, database in sorted(source.databases.items())
        }
        # (3)
        ballots = databases[Realm.BALLOTS]
        copied = source.databases[Realm.BALLOTS].copies.logs(folder / ballots.file)
        manifest = BackupManifest(
            origin=source.origin,
            service=source.service,
            made_in_slot=slot_of(at),
            databases=databases,
            logs=tuple(_log_record(log, checkpoints) for log in copied),
            audit={
                realm: _audit_record(source, realm, folder / databases[realm].file, names)
                for realm, names in audit.items()
            },
            files=record_files(folder),
        )
        data = manifest.serialise()
        write_file(folder / MANIFEST, data)
        # (4)
        for difference in examine_backup(folder).findings:
            raise difference
    return MadeBackup(manifest, hashlib.sha256(data).hexdigest())


def _copy_checkpoints(source: BackupSource, folder: Path) -> Mapping[str, str]:
    """The names of the copied files by log."""
    copied = {}
    for stored in source.elections.list_all():
        note = TileFolder(source.log_directory / stored.election_id).read_checkpoint()
        if note is not None:
            name = f"checkpoints/{Realm.BALLOTS}/{stored.election_id}"
            write_file(folder / name, note)
            copied[stored.election_id] = name
    return copied


def _copy_audit_files(source: BackupSource, realm: Realm, folder: Path) -> tuple[str, str]:
    """The names of the copied checkpoint and of the copied policy, empty where there is none."""
    generation = source.databases[realm].audit_generation()
    files = AuditFolders(source.audit_directory).of(realm, generation)
    names = []
    for kind, content in (
        ("checkpoints", files.read_checkpoint()),
        ("policies", files.read_policy()),
    ):
        name = f"{kind}/audit/{realm}"
        if content is not None:
            write_file(folder / name, content)
        names.append("" if content is None else name)
    checkpoint, policy = names
    return checkpoint, policy


def _copy_database(database: RealmDatabase, folder: Path) -> DatabaseRecord:
    name = f"{database.realm}{database.copies.suffix}"
    database.copy_to(folder / name)
    return DatabaseRecord(name, database.kind, database.version)


def _log_record(log: CopiedLog, checkpoints: Mapping[str, str]) -> LogRecord:
    return LogRecord(
        log_id=log.election_id,
        origin=Manifest.parse(log.manifest).origin,
        size=0 if log.signed is None else log.signed.size,
        root="" if log.signed is None else log.signed.root.hex(),
        finished=log.is_finished,
        checkpoint=checkpoints.get(log.election_id, ""),
    )


def _audit_record(
    source: BackupSource, realm: Realm, copy: Path, names: tuple[str, str]
) -> AuditRecord:
    signed = source.databases[realm].copies.audit_log(copy, realm).signed
    if signed is None:
        return AuditRecord(0, "", *names)
    return AuditRecord(signed.size, signed.root.hex(), *names)
