"""What a backup proves of itself: whole, of one piece, and its logs signed by their own keys.

Whoever can write into the folder can make another backup of it: note the manifest's fingerprint
elsewhere when it is made, and hand it in here.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from signer.audit.sealing import audit_origin
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.confirmation import verify_evidence
from signer.receipts.election import Manifest
from signer.receipts.errors import EvidenceInvalid, ManifestMalformed, PolicyMalformed
from signer.receipts.log_store import SignedCheckpoint
from signer.receipts.policy import LogKeys, Policy
from webapi.backup.errors import (
    BackupDamaged,
    BackupError,
    BackupManifestMalformed,
    BackupManifestOther,
    BackupVersionOther,
)
from webapi.backup.folder import compare_files, read_manifest
from webapi.backup.manifest import BackupManifest, LogRecord
from webapi.storage.realm import Realm
from webapi.storage.realm_copies import CopiedLog, CopyDamaged
from webapi.storage.realm_database import COPIES


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was found.

    Attributes:
        manifest: None where it cannot be read.
        fingerprint: SHA-256 of its bytes, 64 hexadecimal digits; empty where there are none.
        findings: what is wrong, empty where nothing is.
    """

    manifest: BackupManifest | None
    fingerprint: str
    findings: tuple[BackupError, ...]


def examine_backup(folder: Path, *, fingerprint: str | None = None) -> BackupReport:
    """Verify a backup; nothing is changed.

    1. The manifest is one, and the one whose fingerprint the caller noted.
    2. The files are those of the manifest, each regular, of its length and SHA-256.
    3. Each database is whole in itself, and of the version that the manifest states.
    4. The logs in the database are those of the manifest: id, origin, newest size and root.
    5. Their newest checkpoints, and the copied files, are signed by keys that the election's
       manifest pins; no file is newer than the database, or of another tree at its size.
    6. So it is with each realm's audit log, whose key its copied policy pins.

    Args:
        folder: the backup.
        fingerprint: 64 hexadecimal digits, None where nobody noted it.
    """
    # (1)
    try:
        data = read_manifest(folder)
        manifest = BackupManifest.parse(data)
    except BackupManifestMalformed as error:
        return BackupReport(None, "", (error,))
    digest = hashlib.sha256(data).hexdigest()
    if fingerprint is not None and fingerprint.lower() != digest:
        other = BackupManifestOther(f"the manifest's fingerprint is {digest}")
        return BackupReport(manifest, digest, (other,))
    # (2)
    found = compare_files(folder, manifest.files)
    # (3)
    if not found:
        found += _check_databases(folder, manifest)
    # (4) and (5)
    if not found:
        found += _check_logs(folder, manifest)
    # (6)
    if not found:
        found += _check_audit_logs(folder, manifest)
    return BackupReport(manifest, digest, tuple(found))


def _check_databases(folder: Path, manifest: BackupManifest) -> list[BackupError]:
    found: list[BackupError] = []
    for realm, record in sorted(manifest.databases.items()):
        copies = COPIES.get(record.engine)
        if copies is None:
            found.append(BackupVersionOther(f"this program cannot read {record.engine}"))
            continue
        try:
            copies.check(folder / record.file)
            version = copies.version(folder / record.file, realm)
        except CopyDamaged as error:
            found.append(BackupDamaged(str(error)))
            continue
        if version != record.version:
            found.append(BackupDamaged(f"{record.file} has tables of another version: {version}"))
    return found


def _check_logs(folder: Path, manifest: BackupManifest) -> list[BackupError]:
    ballots = manifest.databases[Realm.BALLOTS]
    try:
        copied = COPIES[ballots.engine].logs(folder / ballots.file)
    except CopyDamaged as error:
        return [BackupDamaged(str(error))]
    stated = {log.log_id: log for log in manifest.logs}
    present = {log.election_id: log for log in copied}
    if stated.keys() != present.keys():
        return [BackupDamaged("the database holds other logs than the manifest states")]
    found: list[BackupError] = []
    for log_id, log in sorted(present.items()):
        try:
            _check_log(folder, stated[log_id], log)
        except (EvidenceInvalid, ManifestMalformed) as error:
            found.append(BackupDamaged(f"the log of {log_id}: {error}"))
        except BackupDamaged as error:
            found.append(error)
    return found


def _check_log(folder: Path, stated: LogRecord, copied: CopiedLog) -> None:
    manifest = Manifest.parse(copied.manifest)
    keys = LogKeys(manifest.origin, manifest.log_keys)
    size, root = 0, ""
    if copied.signed is not None:
        size, root = copied.signed.size, copied.signed.root.hex()
    found = (manifest.election_id, manifest.origin, size, root, copied.is_finished)
    if found != (stated.log_id, stated.origin, stated.size, stated.root, stated.finished):
        raise BackupDamaged(f"the log of {stated.log_id} ends otherwise than the manifest states")
    files = [] if not stated.checkpoint else [folder / stated.checkpoint]
    _check_signed(keys, copied.signed, files)


def _check_signed(keys: LogKeys, signed: SignedCheckpoint | None, files: list[Path]) -> None:
    """A log's newest checkpoint and its copied file are signed, and of one tree."""
    size = 0
    if signed is not None:
        size = signed.size
        if verify_evidence(signed.note, keys) != Checkpoint(keys.origin, size, signed.root):
            raise BackupDamaged(f"the newest checkpoint of {keys.origin} says something else")
    for path in files:
        file = verify_evidence(path.read_bytes(), keys)
        if file.size > size or (
            signed is not None and file.size == size and file.root != signed.root
        ):
            raise BackupDamaged(f"the database is behind the copied file of {keys.origin}")


def _check_audit_logs(folder: Path, manifest: BackupManifest) -> list[BackupError]:
    found: list[BackupError] = []
    for realm in sorted(manifest.audit):
        try:
            _check_audit_log(folder, manifest, realm)
        except (CopyDamaged, EvidenceInvalid, PolicyMalformed) as error:
            found.append(BackupDamaged(f"the audit log of {realm}: {error}"))
        except BackupDamaged as error:
            found.append(error)
    return found


def _check_audit_log(folder: Path, manifest: BackupManifest, realm: Realm) -> None:
    stated, database = manifest.audit[realm], manifest.databases[realm]
    copied = COPIES[database.engine].audit_log(folder / database.file, realm)
    signed = copied.signed
    head = (0, "") if signed is None else (signed.size, signed.root.hex())
    if head != (stated.size, stated.root):
        raise BackupDamaged(f"the audit log of {realm} ends otherwise than the manifest states")
    if not stated.policy:
        return  # nothing was sealed, or its folder is lost; the log halts over that by itself
    host = urlsplit(manifest.origin).hostname or ""
    origin = audit_origin(host, str(realm), copied.generation)
    keys = Policy.parse((folder / stated.policy).read_bytes()).logs.get(origin)
    if keys is None:
        raise BackupDamaged(f"the copied policy pins no key of {origin}")
    _check_signed(keys, signed, [folder / stated.checkpoint] if stated.checkpoint else [])
