"""An installation of three realms with one election, to back up; an empty one, to restore into."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine, func, select

from signer.audit.sealing import audit_origin, open_sealer
from signer.login.challenge import IssuedChallenge, StockedNonce
from signer.payload import Purpose
from signer.receipts.growth import SilentObserver
from signer.receipts.tile_store import TileFolder
from tests.support.databases import PostgresDatabase, SqliteDatabase
from tests.support.postgres import roles_in
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import NOW, TrialElection
from tests.support.versions import versions
from webapi.backup import folder as folder_module
from webapi.backup.create import BackupSource, create_backup
from webapi.backup.manifest import BackupManifest
from webapi.backup.restore import RestoreReport, RestoreTarget, restore_backup
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.lease import WorkerLease
from webapi.storage.realm import Realm
from webapi.storage.realm_database import RealmDatabase
from webapi.storage.schema import metadata_of

ORIGIN = "https://tamga.example.mn"
SERIAL = 0xABCDEF
RealDatabase = SqliteDatabase | PostgresDatabase


@dataclass
class Place:
    """One installation: databases, folders, and the election's private keys."""

    folder: Path
    database: RealDatabase
    election: TrialElection
    disk: ReceiptDisk = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.disk = ReceiptDisk(self.folder, self.election, self.database)

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def engine(self, realm: Realm) -> Engine:
        return self.database.engine(realm)

    def back_up(self, target: Path) -> BackupManifest:
        source = BackupSource(
            origin=ORIGIN,
            service="0.1.0",
            databases={realm: RealmDatabase(self.engine(realm), realm, None) for realm in Realm},
            elections=self.disk.elections,
            log_directory=self.logs,
            audit_directory=self.folder / "audit",
        )
        return create_backup(source, target, at=NOW).manifest

    def restore(
        self, backup: Path, *, fingerprint: str | None = None, origin: str = ORIGIN
    ) -> RestoreReport:
        target = RestoreTarget(
            origin=origin,
            databases={realm: self._owned(realm) for realm in Realm},
            lease=WorkerLease(self.engine(Realm.BALLOTS)),
            log_directory=self.logs,
            audit_directory=self.folder / "audit",
            work_directory=self.folder,
        )
        at = NOW + timedelta(days=1)
        return restore_backup(backup, target, at=at, fingerprint=fingerprint)

    def _owned(self, realm: Realm) -> RealmDatabase:
        if isinstance(self.database, SqliteDatabase):
            return RealmDatabase(self.engine(realm), realm, None)
        role = roles_in(self.database.name, realm).runtime
        return RealmDatabase(self.database.owner_engine(realm), realm, role)

    def live(self) -> None:
        """An election with a signed genesis record, a certificate, challenges."""
        self.disk.create()
        self.disk.sequencer().run_once(at=NOW)
        SqlCertificateStore(self.engine(Realm.PKI)).register(
            ca="citizen-ca",
            serial=SERIAL,
            subject="CN=Ш \\ tab\there",
            not_after=NOW + timedelta(days=1000),
        )
        challenges = SqlChallengeStore(self.engine(Realm.LOGIN))
        end = NOW + timedelta(minutes=5)
        challenges.add_stock([StockedNonce("https://tamga.example.mn", "n" * 128, end)])
        challenges.issue(
            IssuedChallenge("c" * 32, "m" * 128, "https://tamga.example.mn", bytes(32), end)
        )

    def seal(self) -> None:
        """What waits in every realm's audit log."""
        keys = self.election.signer.keys
        keys.setdefault(Purpose.AUDIT, ec.generate_private_key(ec.SECP256R1()))
        for realm in Realm:
            with self.audit_files(realm).locked():
                sealer = open_sealer(
                    str(realm),
                    audit_origin("tamga.example.mn", str(realm)),
                    records=SqlAuditLog(self.engine(realm), realm),
                    files=self.audit_files(realm),
                    backend=self.election.signer,
                    at=NOW,
                    observer=SilentObserver(),
                )
                sealer.run_once(at=NOW)

    def audit_files(self, realm: Realm) -> TileFolder:
        return TileFolder(self.folder / "audit" / realm)

    def vote(self, *numbers: int) -> None:
        for number in numbers:
            self.disk.register(number)
        self.disk.sequencer().run_once(at=NOW)

    def rows(self, realm: Realm) -> dict[str, int]:
        with self.engine(realm).begin() as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in metadata_of(realm).sorted_tables
            }


@dataclass
class Places:
    """The place that is backed up, and the one that a backup is restored into."""

    old: Place
    new: Place


@pytest.fixture(params=["sqlite", "postgresql"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Places]:
    """Both on the same kind of database."""
    election = TrialElection()
    databases: list[RealDatabase] = []
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        if request.param == "sqlite":
            pattern = request.getfixturevalue("sqlite_pattern")
            databases.append(SqliteDatabase(pattern, tmp_path / name / "database"))
        else:
            server = request.getfixturevalue("postgresql_server")
            versions.setdefault("PostgreSQL", server.version)
            databases.append(PostgresDatabase(server))
    old, new = databases
    yield Places(Place(tmp_path / "old", old, election), Place(tmp_path / "new", new, election))
    for database in databases:
        database.close()


def copy_of(folder: Path, realm: Realm) -> Path:
    (found,) = folder.glob(f"{realm}.*")
    return found


def restate(folder: Path, **changes: object) -> None:
    """Write a manifest that says something else, in its one form."""
    members = json.loads((folder / "manifest.json").read_bytes())
    members.update(changes)
    text = json.dumps(members, ensure_ascii=True, indent=1, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def accept_files(backup: Path) -> None:
    """Let the manifest state the files as they are now."""
    records = folder_module.record_files(backup)
    restate(
        backup,
        files=[{"length": r.length, "name": r.name, "sha256": r.sha256} for r in records],
    )
