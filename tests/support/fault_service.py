"""A whole service in one process that a test orders about, one JSON line each way.

Everything is composed by `webapi.wiring`, with three things in the test's hands: the time, the
point at which the process kills itself or stands still, and the space on the disk. Each signature
is noted in a journal before anybody learns of it.
"""

import base64
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from flask.testing import FlaskClient
from sqlalchemy import Row, Table, select

from pkcs11_bridge.errors import TokenError
from signer.receipts.election import Manifest
from signer.receipts.note import note_public_key
from signer.receipts.tile_store import TileFolder
from softhsm_config.virtual_card.isolation import become_owner_of
from tests.support.staged import Stage, rehearsed
from webapi import clock
from webapi.audit_logs import AuditLogs
from webapi.cli.home import Home
from webapi.config import load_settings
from webapi.elections.office import ElectionOffice, ElectionPlan
from webapi.elections.sequencing import ReceiptLogs
from webapi.logs import configure_logs
from webapi.operations.metrics import JobAction
from webapi.storage.ballot_log import log_checkpoints, log_entries
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.elections import SqlElectionStore
from webapi.storage.errors import StorageError
from webapi.storage.permits import permit_ranges, permits
from webapi.storage.realm import Realm
from webapi.storage.registrations import registrations
from webapi.storage.salt_keys import FileSaltVault
from webapi.trust_settings import read_certificate_file
from webapi.wiring import LOG_PURPOSES, Wiring

DISK = "disk"
SERIAL = 7


class Service:
    """Carries out orders; each method named `do_…` is one."""

    def __init__(self, home: Home, stage: Stage) -> None:
        self.home = home
        self.stage = stage
        self.begin()

    def begin(self) -> None:
        self.wiring = Wiring(load_settings(self.home.config, os.environ))
        self.client = self.wiring.web_application().test_client()
        self.lease = self.wiring.worker_lease()
        self._logs: ReceiptLogs | None = None
        self._audits: AuditLogs | None = None
        self._responder: FlaskClient | None = None
        self._fill_stock: JobAction | None = None

    @property
    def logs(self) -> ReceiptLogs:
        if self._logs is None:
            self._logs = self.wiring._receipt_logs()
        return self._logs

    def do_arm(self, *, point: dict[str, Any] | None) -> dict[str, Any]:
        self.stage.arm(point)
        return {}

    def do_run(self) -> dict[str, Any]:
        """One round of the worker, at the ordered time."""
        self.logs.run_once(at=self.stage.at)
        return {"halted": dict(self.logs.halted), "busy": dict(self.logs.busy)}

    @property
    def audits(self) -> AuditLogs:
        if self._audits is None:
            self._audits = self.wiring.audit_logs()
        return self._audits

    def do_seal(self) -> dict[str, Any]:
        """One round of the worker's audit job, at the ordered time."""
        self.audits.run_once(at=self.stage.at)
        return {"halted": dict(self.audits.halted), "busy": dict(self.audits.busy)}

    def do_change_certificate(self, *, state: str) -> dict[str, Any]:
        """What a registration authority does to a certificate."""
        store = SqlCertificateStore(self.wiring.engine(Realm.PKI))
        which: dict[str, Any] = {"ca": "citizen-ca", "serial": SERIAL}
        end = self.stage.at.replace(year=2040, hour=0, minute=0, second=0, microsecond=0)
        store.register(**which, subject="CN=Trial", not_after=end)
        change = store.suspend if state == "suspended" else store.restore
        change(**which, at=self.stage.at)
        return {}

    def do_ask_responder(self) -> dict[str, Any]:
        """What our responder says of that certificate, as its listener's process would."""
        listener = self.wiring.settings.ocsp_listener
        assert listener is not None
        issuer = read_certificate_file(listener.ca_certificate)
        key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
        request = (
            ocsp.OCSPRequestBuilder()
            .add_certificate_by_hash(
                issuer_name_hash=sha256(issuer.subject.public_bytes()).digest(),
                issuer_key_hash=sha256(key).digest(),
                serial_number=SERIAL,
                algorithm=hashes.SHA256(),
            )
            .build()
        )
        if self._responder is None:
            self._responder = self.wiring.ocsp_application().test_client()
        answer = self._responder.post(
            f"/ocsp/{listener.ca}",
            data=request.public_bytes(Encoding.DER),
            content_type="application/ocsp-request",
        )
        told = ocsp.load_der_ocsp_response(answer.data)
        if told.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return {"answer": told.response_status.name}
        return {"answer": told.certificate_status.name}

    def do_acquire(self) -> dict[str, Any]:
        """Take the worker's lease if it is free."""
        return {"active": self.lease.acquire()}

    def do_work(self) -> dict[str, Any]:
        """One round of the worker as long as it is the active one."""
        if self.lease.is_held():
            return self.do_run()
        if self._logs is not None:
            self._logs.close()
            self._logs = None
        return {"active": False}

    def do_restart(self) -> dict[str, Any]:
        """A new process in all but its number: what was open is closed, everything begins anew."""
        self.wiring.close()
        self.begin()
        return {}

    def do_fill_stock(self) -> dict[str, Any]:
        """The worker's job that signs challenges."""
        if self._fill_stock is None:
            # Once, as a worker does: the jobs of another call begin ranges of permits of their own.
            jobs = {name: action for name, action, _ in self.wiring.worker_jobs()}
            self._fill_stock = jobs["challenge-stock"]
        self._fill_stock()
        return {}

    def do_ignore_locks(self) -> dict[str, Any]:
        """From now on this process sequences whatever another one holds."""
        patch.object(TileFolder, "locked", lambda _self: nullcontext()).start()
        return {}

    def do_request(
        self, *, method: str, path: str, headers: dict[str, str], body: str
    ) -> dict[str, Any]:
        answer = self.client.open(
            path,
            method=method,
            base_url=self.wiring.settings.service.origin,
            headers=headers,
            data=base64.b64decode(body),
        )
        return {
            "status": answer.status_code,
            "headers": dict(answer.headers),
            "body": base64.b64encode(answer.data).decode(),
        }

    def do_create(self, *, election_id: str) -> dict[str, Any]:
        system_key = _public_key(self.home.election_public_key)
        assert isinstance(system_key, ec.EllipticCurvePublicKey)
        backend = self.wiring.keys.backend(LOG_PURPOSES, at=clock.now())
        office = ElectionOffice(
            elections=SqlElectionStore(self.wiring.engine(Realm.BALLOTS)),
            vault=FileSaltVault(self.wiring.settings.receipts.salt_key_directory),
            log_keys=lambda: [
                note_public_key(backend.public_key(purpose)) for purpose in LOG_PURPOSES
            ],
            next_keys=list,
        )
        midnight = self.stage.at.replace(hour=0, minute=0, second=0, microsecond=0)
        plan = ElectionPlan(
            election_id=election_id,
            title="Trial",
            domain="localhost",
            opens_at=midnight,
            closes_at=midnight + timedelta(days=3),
            election_system_key=system_key,
            standby_keys=(),
            no_vote_proof=True,
        )
        manifest: Manifest = office.create(plan)
        return {"manifest": manifest.serialise().decode()}

    def do_facts(self, *, election_id: str) -> dict[str, Any]:
        """All that database and disk say of a log."""
        with self.wiring.engine(Realm.BALLOTS).begin() as connection:
            entries = (
                connection.execute(
                    select(log_entries.c.entry)
                    .where(log_entries.c.election_id == election_id)
                    .order_by(log_entries.c.seq)
                )
                .scalars()
                .all()
            )
            signed = connection.execute(
                select(log_checkpoints)
                .where(log_checkpoints.c.election_id == election_id)
                .order_by(log_checkpoints.c.size)
            ).all()
            placed = connection.execute(
                select(registrations.c.submission_id, registrations.c.seq).where(
                    registrations.c.election_id == election_id
                )
            ).all()
        facts = {
            "entries": [base64.b64encode(entry).decode() for entry in entries],
            "checkpoints": [[row.note.decode(), row.released] for row in signed],
            "placed": {row.submission_id: row.seq for row in placed},
            "permits": [
                [row.owner, row.purpose, row.digest.hex(), row.spent_at is not None]
                for row in self._rows(permits)
            ],
            "ranges": [
                [row.owner, row.purpose, row.count, row.used] for row in self._rows(permit_ranges)
            ],
        }
        file = self.wiring._tiles(election_id).read_checkpoint()
        return {**facts, "file": None if file is None else file.decode()}

    def _rows(self, table: Table) -> list[Row[*tuple[Any, ...]]]:
        """Those of every realm."""
        found: list[Row[*tuple[Any, ...]]] = []
        for realm in Realm:
            with self.wiring.engine(realm).begin() as connection:
                found += connection.execute(select(table)).all()
        return found

    def do_fill_disk(self) -> dict[str, Any]:
        """Leave no byte free on the small disk."""
        ballast = self.home.directory / DISK / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (65_536, 4096, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        return {"free": os.statvfs(ballast).f_bavail}

    def do_free_disk(self) -> dict[str, Any]:
        (self.home.directory / DISK / "ballast").unlink()
        return {}

    def do_protect_logs(self, *, writable: bool) -> dict[str, Any]:
        """Make the folder of the logs read-only, or writable again."""
        folder = self.wiring.settings.receipts.log_directory
        if os.geteuid() == 0:  # which no file mode stops
            if not writable:
                _mount("--bind", str(folder), str(folder))
            _mount("-o", f"remount,bind,{'rw' if writable else 'ro'}", str(folder))
            return {}
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir():
                path.chmod(0o700 if writable else 0o500)
        return {}

    def do_stop(self) -> dict[str, Any]:
        self.wiring.close()
        return {"stopped": True}


def _public_key(path: Path) -> object:
    return serialization.load_pem_public_key(path.read_bytes())


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def mount_small_disk(home: Home, megabytes: int) -> None:
    """A disk of its own for database, logs and salt keys, in this process's mount namespace."""
    disk = home.directory / DISK
    owner = home.directory.stat()
    options = f"size={megabytes}m,mode=700,uid={owner.st_uid},gid={owner.st_gid}"
    _mount("-t", "tmpfs", "-o", options, "tmpfs", str(disk))
    become_owner_of(home.directory)
    if (home.directory / "database").exists():  # else PostgreSQL has it
        shutil.copytree(home.directory / "database", disk / "database")


def main(arguments: dict[str, Any]) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the service logs is not for whoever orders
    home = Home(Path(arguments["home"]))
    if arguments["small_disk"]:
        mount_small_disk(home, arguments["small_disk"])
    configure_logs()
    stage = Stage(sys.stdin, answers, home.directory / "journal.jsonl")
    with rehearsed(stage):
        service: Service | None = None
        for line in iter(sys.stdin.readline, ""):
            order = json.loads(line)
            stage.at = datetime.fromisoformat(order.pop("at"))
            service = service or Service(home, stage)
            carry_out: Callable[..., dict[str, Any]] = getattr(service, f"do_{order.pop('do')}")
            try:
                answer = carry_out(**order)
            except (TokenError, StorageError) as error:
                answer = {"error": type(error).__name__}
            stage.answer(answer)
            if "stopped" in answer:
                return


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
