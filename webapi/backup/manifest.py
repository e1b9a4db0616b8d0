"""The backup's manifest: what belongs to it, in one form of JSON.

Times are ten-minute slots: with the sizes of logs, an exact time would tell when ballots came.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from signer.receipts.checkpoint import parse_decimal
from signer.receipts.leaf import SLOT_SECONDS, is_election_id
from signer.receipts.note import is_key_name
from signer.receipts.strict_json import JsonMalformed, parse_object
from webapi.backup.errors import BackupManifestMalformed
from webapi.storage.realm import Realm

FORMAT = "tamga.backup/1"
MAX_MANIFEST_BYTES = 64 * 2**20
MAX_FILES = 100_000

_MEMBERS = frozenset(
    {"audit", "databases", "files", "format", "logs", "made_in_slot", "origin", "service"}
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*(/[a-z0-9][a-z0-9.-]*){0,2}")
_WORD = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file.

    Attributes:
        name: relative to the backup's folder, with slashes.
        length: in bytes.
        sha256: of its content, 64 hexadecimal digits.
    """

    name: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DatabaseRecord:
    """One realm's database.

    Attributes:
        file: the name of its copy.
        engine: `sqlite` or `postgresql`.
        version: of its tables.
    """

    file: str
    engine: str
    version: str


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One ballot log, as the copied database has it.

    Attributes:
        log_id: names it: the election's id.
        origin: its name in checkpoints.
        size: of the newest signed checkpoint, 0 where there is none.
        root: its root, 64 hexadecimal digits; empty where there is none.
        finished: closed, and public to its end.
        checkpoint: the name of its copied checkpoint file; empty where there was none.
    """

    log_id: str
    origin: str
    size: int
    root: str
    finished: bool
    checkpoint: str


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One realm's audit log, as the copied database has it.

    Attributes:
        size: of the newest seal, 0 where there is none.
        root: its root, 64 hexadecimal digits; empty where there is none.
        checkpoint: the name of its copied checkpoint file; empty where there was none.
        policy: the name of the copied file that pins its key; empty where there was none.
    """

    size: int
    root: str
    checkpoint: str
    policy: str


@dataclass(frozen=True, slots=True)
class BackupManifest:
    """All that belongs to a backup.

    Attributes:
        origin: the service's.
        service: its version.
        made_in_slot: unix time / 600.
        databases: by realm, all of them.
        logs: by id.
        audit: by realm, all of them.
        files: by name, save the manifest itself.
    """

    origin: str
    service: str
    made_in_slot: int
    databases: Mapping[Realm, DatabaseRecord]
    logs: tuple[LogRecord, ...]
    audit: Mapping[Realm, AuditRecord]
    files: tuple[FileRecord, ...]

    def __post_init__(self) -> None:
        names = [file.name for file in self.files]
        ids = [log.log_id for log in self.logs]
        checks = {
            "there is one database of each realm": set(self.databases) == set(Realm),
            "there is one audit log of each realm": set(self.audit) == set(Realm),
            "files are sorted, each once": names == sorted(set(names)),
            "logs are sorted, each once": ids == sorted(set(ids)),
            "every copy is among the files": self._named() <= set(names),
            "there are not too many files": len(names) <= MAX_FILES,
        }
        for fact, holds in checks.items():
            if not holds:
                raise BackupManifestMalformed(f"not so: {fact}")

    def _named(self) -> set[str]:
        copies = {database.file for database in self.databases.values()}
        copies |= {name for log in self.audit.values() for name in (log.checkpoint, log.policy)}
        return (copies | {log.checkpoint for log in self.logs}) - {""}

    @property
    def made_at(self) -> datetime:
        """The beginning of the slot in which it was made."""
        return datetime.fromtimestamp(self.made_in_slot * SLOT_SECONDS, tz=UTC)

    def serialise(self) -> bytes:
        """The manifest's bytes."""
        members = {
            "audit": {
                str(realm): {
                    "checkpoint": log.checkpoint,
                    "policy": log.policy,
                    "root": log.root,
                    "size": str(log.size),
                }
                for realm, log in self.audit.items()
            },
            "databases": {
                str(realm): {"engine": d.engine, "file": d.file, "version": d.version}
                for realm, d in self.databases.items()
            },
            "files": [{"length": f.length, "name": f.name, "sha256": f.sha256} for f in self.files],
            "format": FORMAT,
            "logs": [
                {
                    "checkpoint": log.checkpoint,
                    "finished": log.finished,
                    "log_id": log.log_id,
                    "origin": log.origin,
                    "root": log.root,
                    "size": str(log.size),
                }
                for log in self.logs
            ],
            "made_in_slot": self.made_in_slot,
            "origin": self.origin,
            "service": self.service,
        }
        return (json.dumps(members, ensure_ascii=True, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest.

        Raises:
            BackupManifestMalformed: the bytes are not one in its one form.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise BackupManifestMalformed("the manifest is too long")
        try:
            members: dict[str, Any] = parse_object(data)
        except JsonMalformed as error:
            raise BackupManifestMalformed("the manifest is not a JSON object") from error
        if members.keys() != _MEMBERS or members["format"] != FORMAT:
            raise BackupManifestMalformed("the manifest has other members than its format says")
        try:
            manifest = cls(
                origin=_word(members["origin"]),
                service=_word(members["service"]),
                made_in_slot=_count(members["made_in_slot"]),
                databases={
                    Realm(realm): _database(record)
                    for realm, record in members["databases"].items()
                },
                logs=tuple(_log(record) for record in members["logs"]),
                audit={Realm(realm): _audit(record) for realm, record in members["audit"].items()},
                files=tuple(_file(record) for record in members["files"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BackupManifestMalformed("a member of the manifest is malformed") from error
        if manifest.serialise() != data:
            raise BackupManifestMalformed("the manifest is not in its one form")
        return manifest


def _database(record: Any) -> DatabaseRecord:
    if record["engine"] not in ("sqlite", "postgresql"):
        raise ValueError("no such engine")
    return DatabaseRecord(_name(record["file"]), record["engine"], _word(record["version"]))


def _audit(record: Any) -> AuditRecord:
    size, root = _head(record)
    checkpoint, policy = record["checkpoint"], record["policy"]
    return AuditRecord(
        size, root, _name(checkpoint) if checkpoint else "", _name(policy) if policy else ""
    )


def _head(record: Any) -> tuple[int, str]:
    """Size and root, both or neither."""
    size, root = parse_decimal(record["size"]), record["root"]
    if (root == "") != (size == 0) or (root and _SHA256.fullmatch(root) is None):
        raise ValueError("no root")
    return size, root


def _log(record: Any) -> LogRecord:
    checkpoint, (size, root) = record["checkpoint"], _head(record)
    if not is_election_id(record["log_id"]) or not isinstance(record["finished"], bool):
        raise ValueError("no log's id, or no flag")
    return LogRecord(
        log_id=record["log_id"],
        origin=_key_name(record["origin"]),
        size=size,
        root=root,
        finished=record["finished"],
        checkpoint=_name(checkpoint) if checkpoint else "",
    )


def _file(record: Any) -> FileRecord:
    if _SHA256.fullmatch(record["sha256"]) is None:
        raise ValueError("no digest")
    return FileRecord(_name(record["name"]), _count(record["length"]), record["sha256"])


def _name(text: str) -> str:
    """A relative path without hidden or parent folders."""
    if _NAME.fullmatch(text) is None:
        raise ValueError("no name of a file in a backup")
    return text


def _word(text: str) -> str:
    if _WORD.fullmatch(text) is None:
        raise ValueError("not a word")
    return text


def _key_name(text: str) -> str:
    if not is_key_name(text):
        raise ValueError("not a log's name")
    return text


def _count(number: Any) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**63:
        raise ValueError("not a count")
    return number
