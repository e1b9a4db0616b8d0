"""One realm's permits, ranges and audit log, on a real database and a real folder."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine

from signer.audit.inspection import AuditedRealm, AuditReport, verify_realm
from signer.audit.sealing import Sealer, audit_origin, open_sealer
from signer.payload import Purpose
from signer.permit import PermitRecord
from signer.permit_range import PermitRange, reserve_range
from signer.receipts.growth import SilentObserver, StepObserver
from signer.receipts.sequencer import Sequenced
from signer.receipts.tile_store import TileFolder
from tests.support.databases import Database, PostgresDatabase
from tests.support.receipts import NOW
from tests.support.software_signer import SoftwareBackend
from webapi.audit_anew import RealmAudit
from webapi.audit_folders import AuditFolders
from webapi.cli.audit import AuditDesk
from webapi.storage.audit_generations import SqlAuditGenerations
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.audit_records import SqlRealmRecords
from webapi.storage.lease import WorkerLease
from webapi.storage.permits import SqlPermitLedger
from webapi.storage.realm import Realm

SLOT = NOW.replace(minute=30, second=0)


def audit_backend() -> SoftwareBackend:
    return SoftwareBackend({Purpose.AUDIT: ec.generate_private_key(ec.SECP256R1())})


def owner_of(database: Database, realm: Realm) -> Engine:
    if isinstance(database, PostgresDatabase):
        return database.owner_engine(realm)
    return database.engine(realm)


@dataclass
class AuditTrail:
    engine: Engine
    realm: Realm
    folder: Path
    backend: SoftwareBackend = field(default_factory=audit_backend)
    owner: Engine | None = None
    """As somebody signs in who may change what the service may not."""

    def __post_init__(self) -> None:
        self.log_id = str(self.realm)
        self.origin = audit_origin("login.example", self.log_id)
        self.files = TileFolder(self.folder / self.log_id)
        self.log = SqlAuditLog(self.engine, self.realm)
        self.ledger = SqlPermitLedger(self.engine)
        self.records = SqlRealmRecords(self.engine, self.realm)

    def permit(self, *, spent: bool = True, at: datetime = SLOT) -> PermitRecord:
        """A permit for something that this realm signs."""
        record = PermitRecord(
            permit_id=secrets.token_hex(16),
            purpose=Purpose.OCSP_CITIZEN_CA,
            owner="citizen-ca",
            digest=secrets.token_bytes(32),
            issued_at=at,
            expires_at=at + timedelta(minutes=1),
        )
        self.ledger.reserve([record])
        if spent:
            self.ledger.spend([record.permit_id], at)
        return record

    def range(self, *, count: int = 10) -> PermitRange:
        return reserve_range(
            Purpose.OCSP_CITIZEN_CA,
            owner="citizen-ca",
            count=count,
            ledger=self.ledger,
            at=SLOT,
            life=timedelta(minutes=10),
        )

    def sealer(self, *, observer: StepObserver | None = None, at: datetime = NOW) -> Sealer:
        return open_sealer(
            self.log_id,
            self.origin,
            records=self.log,
            files=self.files,
            backend=self.backend,
            at=at,
            observer=observer or SilentObserver(),
        )

    def seal(self) -> Sequenced | None:
        return self.sealer().run_once(at=NOW)

    def opened(self) -> AuditedRealm:
        return self.desk().opened(self.realm)

    def audit(self) -> RealmAudit:
        return RealmAudit(
            self.realm,
            "login.example",
            SqlAuditGenerations(self.engine, self.realm),
            lambda generation: SqlAuditLog(self.engine, self.realm, generation),
            AuditFolders(self.folder),
        )

    def desk(self) -> AuditDesk:
        """What the command line works on, of this one realm."""
        return AuditDesk(
            lambda _: self.audit(), lambda _: self.records, lambda: WorkerLease(self.engine)
        )

    def report(self, kept: bytes | None = None) -> AuditReport:
        return verify_realm(self.opened(), kept=kept)

    def codes(self, kept: bytes | None = None) -> set[str]:
        """What verification finds."""
        return {finding.code for finding in self.report(kept).findings}

    def sql(self, statement: object) -> None:
        with (self.owner or self.engine).begin() as connection:
            connection.execute(statement)  # type: ignore[call-overload]  # any statement


Harm = Callable[[AuditTrail], None]
