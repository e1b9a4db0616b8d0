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
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Row, select

from pkcs11_bridge.errors import TokenError
from signer.backend import Signature
from signer.hsm_backend import HsmBackend
from signer.payload import Payload
from signer.permit import PermitRecord, SigningPermit
from signer.receipts import tile_store
from signer.receipts.durable import sync_folder
from signer.receipts.election import Manifest
from signer.receipts.sequencer import Step
from signer.receipts.tile_store import TileFolder
from softhsm_config.virtual_card.isolation import become_owner_of
from webapi import clock, wiring
from webapi.cli.home import Home
from webapi.config import load_settings
from webapi.elections.office import ElectionOffice, ElectionPlan
from webapi.elections.sequencing import ReceiptLogs
from webapi.logs import configure_logs
from webapi.storage.ballot_log import log_checkpoints, log_entries
from webapi.storage.elections import SqlElectionStore
from webapi.storage.errors import StorageError
from webapi.storage.permits import SqlPermitLedger, permits
from webapi.storage.realm import Realm
from webapi.storage.registrations import registrations
from webapi.storage.salt_keys import FileSaltVault
from webapi.wiring import LOG_PURPOSES, Wiring

DISK = "disk"


class Stage:
    """What the test has ordered: the time, and the point to end or to stand still at."""

    def __init__(self, orders: TextIO, answers: TextIO, journal: Path) -> None:
        self.orders = orders
        self.answers = answers
        self.journal = journal
        self.at = datetime(2000, 1, 1, tzinfo=UTC)
        self._point: dict[str, Any] | None = None

    def now(self) -> datetime:
        return self.at

    def arm(self, point: dict[str, Any] | None) -> None:
        self._point = point

    def reached(self, name: str, election_id: str | None = None) -> None:
        point = self._point
        if point is None or point["name"] != name:
            return
        if election_id is not None and point["election_id"] != election_id:
            return
        if point["skip"]:
            point["skip"] -= 1
            return
        self._point = None
        if point["action"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self.answer({"paused": name})
        self.orders.readline()

    def answer(self, members: dict[str, Any]) -> None:
        self.answers.write(json.dumps(members) + "\n")
        self.answers.flush()

    def note_signature(self, payload: Payload, owner: str) -> None:
        line = {
            "purpose": payload.purpose,
            "owner": owner,
            "message": base64.b64encode(payload.message).decode(),
        }
        with self.journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())


class WatchedLedger(SqlPermitLedger):
    stage: Stage

    def record(self, permit: PermitRecord) -> None:
        super().record(permit)
        self.stage.reached("permit recorded")

    def spend(self, permit_id: str, at: datetime) -> None:
        super().spend(permit_id, at)
        self.stage.reached("permit spent")


class WatchedBackend(HsmBackend):
    __slots__ = ()
    stage: Stage

    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        signature = super().sign(permit, payload, at=at)
        self.stage.note_signature(payload, permit.record.owner)
        self.stage.reached("signature made")
        return signature


class WatchedSteps:
    """Stands in for the timer of batches, which is told of the same steps."""

    stage: Stage

    def __init__(self, _batches: object) -> None: ...

    def reached(self, step: Step, election_id: str) -> None:
        self.stage.reached(step.name, election_id)


@contextmanager
def rehearsed(stage: Stage) -> Iterator[None]:
    """The wiring's parts, with the stage's in place of some."""
    WatchedLedger.stage = WatchedBackend.stage = WatchedSteps.stage = stage
    write_file = tile_store._write_file

    def write(path: Path, data: bytes, times: tuple[int, int]) -> None:
        write_file(path, data, times)
        stage.reached("file written")

    def sync(folder: Path) -> None:
        stage.reached("files renamed")
        sync_folder(folder)

    with ExitStack() as stack:
        for target, name, double in (
            (clock, "now", stage.now),
            (wiring, "SqlPermitLedger", WatchedLedger),
            (wiring, "HsmBackend", WatchedBackend),
            (wiring, "BatchTimer", WatchedSteps),
            (wiring, "RECEIPT_WAIT_SECONDS", 0),
            (tile_store, "_write_file", write),
            (tile_store, "sync_folder", sync),
        ):
            stack.enter_context(patch.object(target, name, double))
        yield


class Service:
    """Carries out orders; each method named `do_…` is one."""

    def __init__(self, home: Home, stage: Stage) -> None:
        self.home = home
        self.stage = stage
        self.begin()

    def begin(self) -> None:
        self.wiring = Wiring(load_settings(self.home.config, os.environ))
        self.client = self.wiring.web_application().test_client()
        self._logs: ReceiptLogs | None = None

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
        return {"halted": dict(self.logs.halted), "busy": dict(self.logs._busy)}

    def do_restart(self) -> dict[str, Any]:
        """A new process in all but its number: what was open is closed, everything begins anew."""
        self.wiring.close()
        self.begin()
        return {}

    def do_fill_stock(self) -> dict[str, Any]:
        """The worker's job that signs challenges."""
        jobs = {name: action for name, action, _ in self.wiring.worker_jobs()}
        jobs["challenge-stock"]()
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
        signer = self.wiring.signer(LOG_PURPOSES)
        office = ElectionOffice(
            elections=SqlElectionStore(self.wiring.engine(Realm.BALLOTS)),
            vault=FileSaltVault(self.wiring.settings.receipts.salt_key_directory),
            log_keys=lambda: [signer.public_key(purpose) for purpose in LOG_PURPOSES],
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
                for row in self._permits()
            ],
        }
        file = self.wiring._tiles(election_id).read_checkpoint()
        return {**facts, "file": None if file is None else file.decode()}

    def _permits(self) -> list[Row[*tuple[Any, ...]]]:
        """Those of every realm."""
        found: list[Row[*tuple[Any, ...]]] = []
        for realm in Realm:
            with self.wiring.engine(realm).begin() as connection:
                found += connection.execute(select(permits)).all()
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
