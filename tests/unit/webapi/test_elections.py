"""The election routes: refusals first, then registered, pending, closed."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from signer.receipts.checkpoint import Checkpoint
from signer.receipts.growth import Step
from signer.receipts.note import UnverifiedNote
from signer.receipts.policy import Policy
from signer.receipts.verify import verify_receipt
from tests.support.crashes import Crash, CrashBehind
from tests.support.databases import Database
from tests.support.election_site import Site, problem
from tests.support.receipt_disk import ballot, submission_id
from tests.support.receipts import ELECTION, TrialElection
from webapi.elections.routes import JOSE
from webapi.elections.waiting import ShortWait


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    made = Site(tmp_path, database=database)
    made.disk.create()
    made.work()
    yield made
    made.logs.close()


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
    for header in ("Bearer", "Bearer  ", "Bearerx y", ""):
        problem(site.client.get(path, headers={"Authorization": header}), 401, "bearer_missing")
    for scheme in ("bearer", "BEARER", "Bearer "):
        headers = {"Authorization": f"{scheme} {site.token(0)}"}
        assert site.client.get(path, headers=headers).status_code == 202
    problem(site.fetch(0, token=site.token(1)), 403, "request_misdirected")
    problem(site.fetch(0, token="é"), 400, "request_malformed")
    late = site.token(0)
    site.at += timedelta(minutes=6)
    problem(site.fetch(0, token=late), 401, "request_expired")
    problem(site.fetch(1), 404, "submission_not_found")


def test_closing_with_other_figures(site: Site) -> None:
    path = f"/elections/{ELECTION}/close"
    for number in range(3):
        site.register(number)
    assert site.post(path, site.disk.close_jws()).status_code == 202
    problem(site.post(path, site.disk.close_jws(size=3)), 409, "close_conflict")
    problem(site.post(path, site.disk.registration_jws(0)), 400, "request_malformed")


def test_closing_with_more_voters_than_ballots(site: Site) -> None:
    path = f"/elections/{ELECTION}/close"
    problem(site.post(path, site.disk.close_jws(size=1)), 409, "voters_exceed_ballots")
    site.register(0)
    site.work()
    site.register(1)  # one ballot has its place in the log, one has none yet
    problem(site.post(path, site.disk.close_jws(size=3)), 409, "voters_exceed_ballots")
    assert site.register(2).status_code == 202  # the order was not recorded
    assert site.post(path, site.disk.close_jws(size=3)).status_code == 202
    site.work()
    assert site.post(path, site.disk.close_jws(size=3)).status_code == 200


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
    path, order = f"/elections/{ELECTION}/close", site.disk.close_jws(size=1)
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
    site = Site(tmp_path, wait=ShortWait(seconds=60, waiters=1))
    site.disk.create()
    site.work()
    worker = threading.Thread(target=site.work_on_pending, args=(1,))
    worker.start()
    answer = site.register(0)
    worker.join()
    assert answer.status_code == 200
    site.logs.close()


def test_few_wait_and_the_others_look_once() -> None:
    wait = ShortWait(seconds=60, waiters=1)
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


def test_a_close_is_not_confirmed_before_its_receipts_are_out(site: Site) -> None:
    path, order = f"/elections/{ELECTION}/close", site.disk.close_jws(size=1)
    site.register(0)
    assert site.post(path, order).status_code == 202
    with pytest.raises(Crash):
        site.disk.sequencer(observer=CrashBehind(Step.COMMITTED)).run_once(at=site.at)
    assert site.post(path, order).status_code == 202
    site.work()  # finds out that another has signed
    site.work()
    assert site.post(path, order).status_code == 200
    assert site.fetch(0).status_code == 200
