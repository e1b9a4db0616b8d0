"""An audit log behind its folder, and what is done about it."""

import json
from typing import Any

from click.testing import CliRunner, Result
from sqlalchemy import Table, delete, select

from signer.receipts.growth import SilentObserver
from tests.support.audit_trail import AuditTrail
from tests.support.receipts import NOW
from webapi.audit_anew import Begun, begin_anew
from webapi.audit_folders import AuditFolders
from webapi.audit_logs import AuditLogs
from webapi.cli.audit import audit
from webapi.put_back import Containment
from webapi.storage.audit import audit_checkpoints, audit_entries, audit_intents
from webapi.storage.audit_generations import audit_generations
from webapi.storage.lease import WorkerLease
from webapi.storage.permits import permits

FIRST_ORIGIN = "audit.login.example/pki"
SECOND_ORIGIN = "audit.login.example/pki/2"
REASON = "restored from the backup of 21 November; there is no newer one"
TABLES: tuple[Table, ...] = (
    audit_entries,
    audit_checkpoints,
    audit_intents,
    audit_generations,
    permits,
)


class Yesterday:
    """The rows of a realm as they were."""

    def __init__(self, trail: AuditTrail) -> None:
        with trail.engine.begin() as connection:
            self.rows = {
                table: [dict(row._mapping) for row in connection.execute(select(table))]
                for table in TABLES
            }

    def restore(self, trail: AuditTrail) -> None:
        for table, rows in self.rows.items():
            trail.sql(delete(table))
            if rows:
                trail.sql(table.insert().values(rows))


def behind_of(trail: AuditTrail) -> AuditTrail:
    """Sealed up to 3 in the database, up to 7 by its folder; entries wait."""
    for _ in range(3):
        trail.permit()
    trail.seal()
    trail.permit()
    yesterday = Yesterday(trail)
    trail.seal()
    trail.permit()
    trail.seal()
    yesterday.restore(trail)
    return trail


def begin(trail: AuditTrail, because: str = REASON) -> Begun:
    return begin_anew(trail.audit(), WorkerLease(trail.engine), because=because, at=NOW)


def logs_of(trail: AuditTrail) -> AuditLogs:
    return AuditLogs(
        host="login.example",
        log_of=lambda _: trail.audit().log_of(trail.audit().generations.active()),
        folders=AuditFolders(trail.folder),
        backend=lambda: trail.backend,
        observer=SilentObserver(),
        contain=Containment(lambda _: trail.engine, lambda: NOW),
    )


def seal(trail: AuditTrail) -> dict[str, str]:
    """What halted, after the worker's job ran twice for this realm."""
    logs = logs_of(trail)
    for _ in range(2):
        logs._try_log(str(trail.realm), at=NOW)
    logs.close()
    return dict(logs.halted)


def run(trail: AuditTrail, *arguments: str) -> Result:
    return CliRunner().invoke(audit, arguments, obj=trail.desk())


def reported(trail: AuditTrail, *arguments: str) -> dict[str, Any]:
    done = run(trail, "verify", "pki", "--json", *arguments)
    (report,) = json.loads(done.stdout)
    assert done.exit_code == (0 if report["ok"] else 1)
    members: dict[str, Any] = report
    return members


def codes(trail: AuditTrail) -> set[str]:
    return {finding["code"] for finding in reported(trail)["findings"]}
