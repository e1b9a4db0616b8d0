"""The election routes: refusals first, then registered, pending, closed."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import FenceLost
from signer.receipts.merkle import leaf_hash, root_of
from signer.receipts.note import UnverifiedNote, open_note
from signer.receipts.policy import Policy
from signer.receipts.registration import sign_receipt_request
from signer.receipts.sequencer import SilentObserver
from signer.receipts.tile_store import TileFolder
from signer.receipts.tiles import decode_bundle, decode_hashes
from signer.receipts.verify import verify_receipt
from tests.support.receipt_disk import ReceiptDisk, ballot, submission_id
from tests.support.receipts import AUDIENCE, ELECTION, NOW, PURPOSES, TrialElection
from webapi.elections.problems import PROBLEMS
from webapi.elections.routes import JOSE, elections_blueprint
from webapi.elections.sequencing import PublicationRules, ReceiptLogs
from webapi.elections.service import ElectionsService
from webapi.elections.waiting import ShortWait
from webapi.problems import install_problem_handlers


class Site:
    """The routes on a real database, a worker that runs when told, and a clock set by hand."""

    def __init__(self, folder: Path, *, wait: ShortWait | None = None) -> None:
        self.disk = ReceiptDisk(folder)
        self.at = NOW
        self.logs = self.new_logs()
        service = ElectionsService(
            audience=AUDIENCE,
            elections=self.disk.elections,
            registrations=self.disk.registrations,
            log=self.disk.log,
            vault=self.disk.vault,
            tiles=self.tiles,
            wait=wait or ShortWait(seconds=0, waiters=1),
        )
        self.app = Flask("test")
        self.app.register_blueprint(elections_blueprint(service, self.now))
        install_problem_handlers(self.app, [PROBLEMS])
        self.client: FlaskClient = self.app.test_client()

    def new_logs(self) -> ReceiptLogs:
        return ReceiptLogs(
            elections=self.disk.elections,
            log=self.disk.log,
            tiles=self.tiles,
            signer=self.disk.election.signer,
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


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.disk.create()
    made.work()
    yield made
    made.logs.close()


def problem(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = json.loads(response.data)
    assert body["code"] == code
    return body


# Refusals.


def test_other_content_types(site: Site) -> None:
    body = site.disk.registration_jws(0)
    response = site.post(f"/elections/{ELECTION}/ballots", body, "application/json")
    problem(response, 415, "content_type_wrong")


def test_too_large_a_body(site: Site) -> None:
    response = site.post(f"/elections/{ELECTION}/ballots", b"a" * 8193)
    problem(response, 413, "body_too_large")


@pytest.mark.parametrize("body", [b"", b"a.b.c", b"\xff.\xff.\xff", b"{}"])
def test_bodies_that_are_no_request(site: Site, body: bytes) -> None:
    problem(site.post(f"/elections/{ELECTION}/ballots", body), 400, "request_malformed")


@pytest.mark.parametrize("name", ["another", "UPPER", "%2e%2e"])
def test_elections_that_are_not_there(site: Site, name: str) -> None:
    body = site.disk.registration_jws(0)
    problem(site.post(f"/elections/{name}/ballots", body), 404, "election_not_found")
    problem(site.client.get(f"/elections/{name}"), 404, "election_not_found")
    problem(site.client.get(f"/log/{name}/checkpoint"), 404, "election_not_found")


def test_another_system_s_signature(site: Site) -> None:
    site.disk.election.system_key = TrialElection().system_key
    problem(site.register(0), 401, "request_signature_invalid")


def test_an_order_is_no_registration(site: Site) -> None:
    response = site.post(f"/elections/{ELECTION}/ballots", site.disk.close_jws())
    problem(response, 400, "request_malformed")


def test_outside_the_window(site: Site) -> None:
    site.at = site.disk.manifest.opens_at - timedelta(seconds=1)
    problem(site.register(0), 403, "election_not_yet_open")
    site.at = site.disk.manifest.closes_at
    problem(site.register(0), 410, "election_over")


def test_the_same_id_with_another_ballot(site: Site) -> None:
    assert site.register(0).status_code == 202
    problem(site.register(0, content=b"another"), 409, "submission_conflict")


def test_fetching_needs_the_election_system_s_token(site: Site) -> None:
    site.register(0)
    path = f"/elections/{ELECTION}/receipts/{submission_id(0)}"
    problem(site.client.get(path), 401, "bearer_missing")
    basic = {"Authorization": "Basic eDp5"}
    problem(site.client.get(path, headers=basic), 401, "bearer_missing")
    problem(site.fetch(0, token=site.token(1)), 403, "request_misdirected")
    problem(site.fetch(0, token="é"), 400, "request_malformed")
    late = site.token(0)
    site.at += timedelta(minutes=6)
    problem(site.fetch(0, token=late), 401, "request_expired")
    problem(site.fetch(1), 404, "submission_not_found")


def test_closing_with_other_figures(site: Site) -> None:
    path = f"/elections/{ELECTION}/close"
    assert site.post(path, site.disk.close_jws()).status_code == 202
    problem(site.post(path, site.disk.close_jws(size=3)), 409, "close_conflict")
    problem(site.post(path, site.disk.registration_jws(0)), 400, "request_malformed")


def test_erased_salts(site: Site) -> None:
    site.register(0)
    site.work()
    site.disk.vault.erase_key(ELECTION)
    problem(site.fetch(0), 410, "receipt_erased")


# The main way.


def test_registered_pending_fetched_verified(site: Site) -> None:
    pending = site.register(0)
    assert pending.status_code == 202
    assert pending.json == {"status": "pending", "submission_id": submission_id(0)}
    assert pending.headers["Retry-After"] == "1"
    assert pending.headers["Location"] == f"/elections/{ELECTION}/receipts/{submission_id(0)}"
    assert site.fetch(0).status_code == 202
    site.work()
    fetched = site.fetch(0)
    assert fetched.status_code == 200
    assert fetched.headers["Cache-Control"] == "no-store"
    answer = json.loads(fetched.data)
    policy = Policy.parse(site.client.get(f"/log/{ELECTION}/policy").data)
    verified = verify_receipt(answer["receipt"].encode(), ballot(0), policy)
    assert verified.index == answer["index"] == 1
    # A retry gets the same bytes, whatever the log did meanwhile.
    site.register(1)
    site.work()
    assert site.register(0).data == fetched.data == site.fetch(0).data


def test_closing(site: Site) -> None:
    site.register(0)
    path, order = f"/elections/{ELECTION}/close", site.disk.close_jws()
    closing = site.post(path, order)
    assert (closing.status_code, closing.json) == (202, {"status": "closing"})
    problem(site.register(1), 410, "election_over")
    site.work()
    closed = site.post(path, order)
    answer = json.loads(closed.data)
    assert (closed.status_code, answer["size"]) == (200, 3)
    assert Checkpoint.parse(UnverifiedNote.parse(answer["checkpoint"].encode()).text).size == 3
    # A lawful retry after close gets the receipt; the public sees the end.
    assert site.register(0).status_code == 200
    problem(site.register(1), 410, "election_over")
    details = json.loads(site.client.get(f"/elections/{ELECTION}").data)
    assert (details["closed"], details["published_size"]) == (True, 3)
    site.work()


def test_fifty_at_once_with_the_same_submission(site: Site) -> None:
    start = threading.Barrier(50)

    def submit(number: int) -> TestResponse:
        client = site.app.test_client()
        content = b"another" if number % 5 == 0 else ballot(0)
        body = site.disk.registration_jws(0, content=content)
        start.wait()
        return client.post(f"/elections/{ELECTION}/ballots", data=body, content_type=JOSE)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(submit, range(50)))
    statuses = [answer.status_code for answer in answers]
    assert sorted(set(statuses)) == [202, 409]
    assert statuses.count(202) in {10, 40}
    site.work()
    assert site.disk.log.log_state(ELECTION).entries == 2
    winner = b"another" if statuses.count(202) == 10 else ballot(0)
    receipts = {site.register(0, content=winner).data for _ in range(3)}
    assert len(receipts) == 1


def test_a_short_wait_brings_the_receipt(tmp_path: Path) -> None:
    site = Site(tmp_path, wait=ShortWait(seconds=20, waiters=1))
    site.disk.create()
    site.work()
    timer = threading.Timer(0.2, site.work)
    timer.start()
    answer = site.register(0)
    timer.join()
    assert answer.status_code == 200
    site.logs.close()


def test_few_wait_and_the_others_look_once() -> None:
    wait = ShortWait(seconds=20, waiters=1)
    inside, done = threading.Event(), threading.Event()

    def slow() -> str | None:
        inside.set()
        return "found" if done.is_set() else None

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(wait.find, slow)
        inside.wait()
        looks: list[None] = []
        while len(looks) < 3:
            wait.find(lambda: looks.append(None))
        done.set()
        assert first.result() == "found"


@pytest.mark.parametrize(("seconds", "waiters"), [(-1, 1), (1, 0)])
def test_waits_that_make_no_sense(seconds: float, waiters: int) -> None:
    with pytest.raises(ValueError, match="wait"):
        ShortWait(seconds=seconds, waiters=waiters)


# What the public sees.


def test_the_public_log_stays_at_the_published_size(site: Site) -> None:
    log = f"/log/{ELECTION}"
    for number in range(3):
        site.register(number)
    site.work()
    checkpoint = site.client.get(f"{log}/checkpoint")
    assert checkpoint.content_type == "text/plain; charset=utf-8"
    assert Checkpoint.parse(UnverifiedNote.parse(checkpoint.data).text).size == 1
    problem(site.client.get(f"{log}/tile/0/000.p/4"), 404, "not_published")
    problem(site.client.get(f"{log}/tile/entries/000.p/2"), 404, "not_published")
    problem(site.client.get(f"{log}/tile/0/000"), 404, "not_published")
    problem(site.client.get(f"{log}/tile/secret"), 404, "not_published")
    assert site.client.get(f"{log}/tile/0/000.p/1").status_code == 200

    site.work(NOW + timedelta(minutes=10))
    note = UnverifiedNote.parse(site.client.get(f"{log}/checkpoint").data)
    opened = Checkpoint.parse(open_note(note, site.disk.manifest.current_keys).text)
    tile = site.client.get(f"{log}/tile/0/000.p/4")
    assert tile.content_type == "application/octet-stream"
    assert "immutable" in tile.headers["Cache-Control"]
    entries = decode_bundle(site.client.get(f"{log}/tile/entries/000.p/4").data)
    assert decode_hashes(tile.data) == tuple(leaf_hash(entry) for entry in entries)
    assert (opened.size, opened.root) == (4, root_of(decode_hashes(tile.data)))
    # A narrower width is a prefix of the wider one.
    assert site.client.get(f"{log}/tile/0/000.p/2").data == tile.data[:64]


def test_no_public_answer_has_a_date_of_its_own(site: Site) -> None:
    for path in ("checkpoint", "tile/0/000.p/1", "policy"):
        headers = site.client.get(f"/log/{ELECTION}/{path}").headers
        assert not {"Last-Modified", "ETag"} & set(headers.keys())


def test_nothing_is_public_before_the_genesis_record_is_signed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.disk.create()
    problem(site.client.get(f"/log/{ELECTION}/checkpoint"), 404, "not_published")


def test_a_published_tile_that_is_missing_is_our_failure(site: Site) -> None:
    site.tiles(ELECTION).set_aside()
    problem(site.client.get(f"/log/{ELECTION}/tile/0/000.p/1"), 500, "internal_error")


def test_elections_are_listed_and_shown(site: Site) -> None:
    listed = json.loads(site.client.get("/elections").data)["elections"]
    assert [item["election_id"] for item in listed] == [ELECTION]
    details = json.loads(site.client.get(f"/elections/{ELECTION}").data)
    manifest = details["manifest"].encode()
    assert hashlib.sha256(manifest).hexdigest() == details["manifest_sha256"]
    policy = site.client.get(f"/log/{ELECTION}/policy").data
    assert hashlib.sha256(policy).hexdigest() == details["policy_sha256"]
    assert details["title"] == "Туршилтын сонгууль"
    assert details["closed"] is False


# The worker's side.


def test_a_second_worker_leaves_the_log_alone(site: Site) -> None:
    other = site.new_logs()
    site.register(0)
    other.run_once(at=NOW)
    assert site.fetch(0).status_code == 202
    site.logs.close()
    other.run_once(at=NOW)
    assert site.fetch(0).status_code == 200
    other.close()
    assert other.halted == {}


def test_one_halted_log_leaves_the_others_running(site: Site) -> None:
    second = ReceiptDisk(site.disk.folder, TrialElection(signer=site.disk.election.signer))
    second.election.election_id = "second"
    second.manifest = second.election.manifest()
    second.create()
    site.logs.close()
    (site.disk.folder / "logs" / ELECTION / "checkpoint").write_bytes(b"damaged")
    site.work()
    assert site.logs.halted == {ELECTION: "TilesDamaged"}
    site.work()
    assert second.log.log_state("second").published.size == 1


def test_an_error_that_may_pass_is_raised_and_tried_again(site: Site) -> None:
    site.register(0)
    key = site.disk.election.signer.keys.pop(PURPOSES[0])
    with pytest.raises(KeyError):
        site.work()
    site.disk.election.signer.keys[PURPOSES[0]] = key
    site.work()
    assert site.fetch(0).status_code == 200


def test_a_lost_fence_is_compared_anew(site: Site) -> None:
    site.register(0)
    with pytest.raises(FenceLost):
        site.disk.log.intend(ELECTION, size=1, root=root_before(site), holder="another")
    assert site.disk.sequencer().run_once(at=NOW) is not None
    site.register(1)
    site.work()
    assert site.logs.halted == {}
    site.work()
    assert site.fetch(1).status_code == 200


def root_before(site: Site) -> bytes:
    checkpoint = site.disk.log.checkpoint(ELECTION, 1)
    assert checkpoint is not None
    return checkpoint.root


# What the web worker may not have.


def test_verification_needs_no_service_package() -> None:
    # A new interpreter that refuses to import what an auditor's machine lacks.
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        banned = {"flask", "sqlalchemy", "joserfc", "pkcs11", "pydantic", "asn1crypto", "structlog"}
        if name.split(".")[0] in banned:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import webapi.cli.receipts
"""
    subprocess.run([sys.executable, "-c", program], check=True)
