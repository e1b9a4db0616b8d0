"""The election routes on a real database, and what their answers must look like."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from signer.receipts.growth import SilentObserver
from signer.receipts.registration import sign_receipt_request
from signer.receipts.tile_store import TileFolder
from tests.support.databases import Database
from tests.support.faults import await_fact
from tests.support.receipt_disk import ReceiptDisk, submission_id
from tests.support.receipts import AUDIENCE, ELECTION, NOW, PURPOSES
from webapi.elections.problems import PROBLEMS
from webapi.elections.routes import JOSE, elections_blueprint
from webapi.elections.sequencing import PublicationRules, ReceiptLogs
from webapi.elections.service import ElectionsService
from webapi.elections.waiting import ShortWait
from webapi.limits import RateLimit, SourceLimiter
from webapi.problems import install_problem_handlers
from webapi.storage.log_holds import SqlLogHolds


class Site:
    """The routes on a real database, a worker that runs when told, and a clock set by hand."""

    def __init__(
        self,
        folder: Path,
        *,
        wait: ShortWait | None = None,
        burst: int = 10_000,
        database: Database | None = None,
    ) -> None:
        self.disk = ReceiptDisk(folder, database=database)
        self.at = NOW
        self.logs = self.new_logs()
        self.service = ElectionsService(
            audience=AUDIENCE,
            elections=self.disk.elections,
            registrations=self.disk.registrations,
            log=self.disk.log,
            holds=SqlLogHolds(self.disk.engine),
            vault=self.disk.vault,
            tiles=self.tiles,
            limiter=SourceLimiter(RateLimit(burst, 1.0)),
            wait=wait or ShortWait(seconds=0, waiters=1),
        )
        self.app = Flask("test")
        self.app.register_blueprint(elections_blueprint(self.service, self.now))
        install_problem_handlers(self.app, [PROBLEMS])
        self.client: FlaskClient = self.app.test_client()

    def new_logs(self) -> ReceiptLogs:
        return ReceiptLogs(
            elections=self.disk.elections,
            holds=SqlLogHolds(self.disk.engine),
            log=self.disk.log,
            tiles=self.tiles,
            backend=self.disk.election.signer,
            purposes=PURPOSES,
            publication=PublicationRules(epoch=timedelta(minutes=10), least=2),
            observer=SilentObserver(),
        )

    def now(self) -> datetime:
        return self.at

    def tiles(self, election_id: str) -> TileFolder:
        return TileFolder(self.disk.folder / "logs" / election_id)

    def work(self, at: datetime | None = None) -> None:
        self.logs.run_once(at=at or self.at)

    def work_on_pending(self, count: int) -> None:
        """Run the worker as soon as so many registrations wait for it."""
        await_fact(lambda: self.disk.registrations.count_pending(ELECTION) == count)
        self.work()

    def post(self, path: str, body: bytes, content_type: str = JOSE) -> TestResponse:
        return self.client.post(path, data=body, content_type=content_type)

    def register(self, number: int, *, content: bytes | None = None) -> TestResponse:
        body = self.disk.registration_jws(number, content=content, at=self.at)
        return self.post(f"/elections/{ELECTION}/ballots", body)

    def fetch(self, number: int, *, token: str | None = None) -> TestResponse:
        bearer = token or self.token(number)
        return self.client.get(
            f"/elections/{ELECTION}/receipts/{submission_id(number)}",
            headers={"Authorization": f"Bearer {bearer}"},
        )

    def token(self, number: int) -> str:
        return sign_receipt_request(
            private_key=self.disk.election.system_key,
            audience=AUDIENCE,
            election_id=ELECTION,
            submission_id=submission_id(number),
            at=self.at,
        )


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(response.data)
    assert body["code"] == code
    return body
