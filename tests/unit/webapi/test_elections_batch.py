"""Many ballots by one request: each judged as if it had come alone, nothing lost on the way."""

import hashlib
import json
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey
from sqlalchemy import select
from werkzeug.test import TestResponse

from signer.receipts.acceptance import StoredRegistration
from signer.receipts.claims import MAX_BATCH
from signer.receipts.jws import sign_jws, thumbprint
from signer.receipts.policy import Policy
from signer.receipts.registration import (
    BALLOT_BYTES,
    BATCH_HEAD_BYTES,
    BATCH_TYPE,
    MAX_BATCH_JWS_BYTES,
    sign_batch,
)
from signer.receipts.verify import verify_receipt
from tests.support.databases import Database
from tests.support.election_site import Site, problem
from tests.support.receipt_disk import ballot, submission_id
from tests.support.receipts import AUDIENCE, ELECTION, TrialElection
from webapi.elections.waiting import ShortWait
from webapi.storage.registrations import registration_batches, registrations

PATH = f"/elections/{ELECTION}/ballots:batch"


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    made = Site(tmp_path, database=database)
    made.disk.create()
    made.work()
    yield made
    made.logs.close()


def request(site: Site, ballots: Sequence[tuple[str, bytes]]) -> bytes:
    return sign_batch(
        private_key=site.disk.election.system_key,
        audience=AUDIENCE,
        election_id=ELECTION,
        ballots=[(name, hashlib.sha256(content).digest()) for name, content in ballots],
        at=site.at,
    ).encode()


def of_numbers(site: Site, numbers: Sequence[int]) -> bytes:
    return request(site, [(submission_id(number), ballot(number)) for number in numbers])


def post(site: Site, numbers: Sequence[int]) -> TestResponse:
    return site.post(PATH, of_numbers(site, numbers))


def ballots_of(answer: TestResponse) -> list[dict[str, Any]]:
    members: dict[str, Any] = json.loads(answer.data)
    assert members.keys() == {"ballots"}
    found: list[dict[str, Any]] = members["ballots"]
    return found


def statuses(answer: TestResponse) -> list[str]:
    return [item["status"] for item in ballots_of(answer)]


# Refusals of the whole request.


def test_other_content_types_and_sizes(site: Site) -> None:
    problem(site.post(PATH, of_numbers(site, [0]), "application/json"), 415, "content_type_wrong")
    problem(site.post(PATH, bytes(MAX_BATCH_JWS_BYTES + 1)), 413, "body_too_large")


def test_a_registration_is_no_batch_and_a_batch_no_registration(site: Site) -> None:
    problem(site.post(PATH, site.disk.registration_jws(0)), 400, "request_malformed")
    single = f"/elections/{ELECTION}/ballots"
    problem(site.post(single, of_numbers(site, [0])), 400, "request_malformed")


HASH = "ab" * 32


@pytest.mark.parametrize(
    "ballots",
    [
        [],
        None,
        {},
        "x",
        [submission_id(0)],
        [[submission_id(0)]],
        [[submission_id(0), HASH, HASH]],
        [[submission_id(0), HASH[1:]]],
        [[submission_id(0), None]],
        [["short", HASH]],
        [[5, HASH]],
        [[submission_id(0), HASH], [submission_id(0), HASH]],
        [[submission_id(0), HASH], [submission_id(0), "cd" * 32]],
        [[submission_id(1), HASH], [submission_id(0), HASH]],
        [[submission_id(0), HASH], [submission_id(2), HASH], [submission_id(1), HASH]],
    ],
)
def test_malformed_ballots(site: Site, ballots: object) -> None:
    claims = {
        "aud": AUDIENCE,
        "election_id": ELECTION,
        "ballots": ballots,
        "iat": int(site.at.timestamp()) // 600 * 600,
    }
    body = sign_jws(claims, typ=BATCH_TYPE, private_key=site.disk.election.system_key)
    problem(site.post(PATH, body.encode()), 400, "request_malformed")
    assert site.disk.registrations.count(ELECTION) == 0


def test_more_ballots_than_a_batch_may_have(site: Site) -> None:
    body = of_numbers(site, range(MAX_BATCH + 1))
    assert len(body) < MAX_BATCH_JWS_BYTES
    problem(site.post(PATH, body), 400, "request_malformed")
    assert site.disk.registrations.count(ELECTION) == 0


def test_a_batch_that_is_longer_than_its_ballots(site: Site) -> None:
    claims = {
        "aud": AUDIENCE,
        "election_id": ELECTION,
        "ballots": [[submission_id(0), HASH]],
        "iat": int(site.at.timestamp()) // 600 * 600,
    }
    key = site.disk.election.system_key
    header = {"alg": "ES256", "typ": BATCH_TYPE, "kid": thumbprint(key.public_key())}

    def padded(blanks: int) -> bytes:
        payload = json.dumps(claims) + " " * blanks
        signed = jws.serialize_compact(header, payload, ECKey.import_key(key), ["ES256"])
        return signed.encode()

    room = BATCH_HEAD_BYTES + BALLOT_BYTES - len(padded(0))
    problem(site.post(PATH, padded(room * 3 // 4 + 3)), 400, "request_malformed")
    assert site.disk.registrations.count(ELECTION) == 0
    assert site.post(PATH, padded(room * 3 // 4 - 3)).status_code == 202


def test_another_system_s_signature(site: Site) -> None:
    site.disk.election.system_key = TrialElection().system_key
    problem(post(site, [0]), 401, "request_signature_invalid")
    assert site.disk.registrations.count(ELECTION) == 0


def test_the_rate_limit_counts_ballots(tmp_path: Path) -> None:
    site = Site(tmp_path, burst=10)
    site.disk.create()
    assert post(site, range(6)).status_code == 202
    problem(post(site, range(6, 11)), 429, "too_many_requests")
    assert post(site, range(6, 10)).status_code == 202
    assert site.disk.registrations.count(ELECTION) == 10


# Each ballot by itself.


def test_pending_then_registered_in_the_request_s_order(site: Site) -> None:
    body = of_numbers(site, [3, 1, 2])  # `sign_batch` puts them into their order
    pending = site.post(PATH, body)
    assert (pending.status_code, pending.headers["Retry-After"]) == (202, "1")
    assert "Location" not in pending.headers
    assert statuses(pending) == ["pending"] * 3
    site.work()
    registered = site.post(PATH, body)
    assert registered.status_code == 200
    assert registered.headers["Cache-Control"] == "no-store"
    policy = Policy.parse(site.client.get(f"/log/{ELECTION}/policy").data)
    for number, item in zip([1, 2, 3], ballots_of(registered), strict=True):
        assert item["submission_id"] == submission_id(number)
        verified = verify_receipt(item["receipt"].encode(), ballot(number), policy)
        assert verified.index == item["index"]
        # Byte for byte what is fetched one by one, or registered again alone.
        assert json.loads(site.fetch(number).data) == item
        assert json.loads(site.register(number).data) == item
    assert site.post(PATH, body).data == registered.data


def test_what_was_registered_alone_is_fetched_by_a_batch(site: Site) -> None:
    site.register(1)
    site.work()
    answer = post(site, [1, 2])
    assert (answer.status_code, statuses(answer)) == (202, ["registered", "pending"])


def test_conflicts_concern_their_ballot_alone(site: Site) -> None:
    site.register(1)
    site.work()
    mixed = request(site, [(submission_id(0), ballot(0)), (submission_id(1), b"another")])
    answer = site.post(PATH, mixed)
    assert statuses(answer) == ["pending", "conflict"]
    assert ballots_of(answer)[1] == {"status": "conflict", "submission_id": submission_id(1)}
    site.work()
    assert statuses(site.post(PATH, mixed)) == ["registered", "conflict"]
    assert site.post(PATH, mixed).status_code == 200  # nothing will change by asking again


def test_outside_the_window(site: Site) -> None:
    site.at = site.disk.manifest.opens_at - timedelta(seconds=1)
    assert statuses(post(site, [0, 1])) == ["not_yet_open", "not_yet_open"]
    site.at = site.disk.manifest.opens_at
    assert statuses(post(site, [0])) == ["pending"]
    site.work()
    site.at = site.disk.manifest.closes_at
    assert statuses(post(site, [0, 1])) == ["registered", "over"]


def test_after_the_order_to_close(site: Site) -> None:
    assert statuses(post(site, [0, 1])) == ["pending", "pending"]
    assert site.post(f"/elections/{ELECTION}/close", site.disk.close_jws()).status_code == 202
    assert statuses(post(site, [0, 1, 2])) == ["pending", "pending", "over"]
    site.work()
    assert statuses(post(site, [0, 1, 2])) == ["registered", "registered", "over"]
    changed = request(site, [(submission_id(0), b"another")])
    assert statuses(site.post(PATH, changed)) == ["conflict"]


def test_a_ballot_that_vanished_fails_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    lost, find = submission_id(1), site.disk.registrations.find
    site.register(1)

    def find_others(election_id: str, names: Collection[str]) -> Mapping[str, StoredRegistration]:
        return {name: row for name, row in find(election_id, names).items() if name != lost}

    monkeypatch.setattr(site.disk.registrations, "find", find_others)
    answer = post(site, [0, 1, 2])
    assert (answer.status_code, statuses(answer)) == (202, ["pending", "failed", "pending"])
    site.work()
    answer = post(site, [0, 1, 2])
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert statuses(answer) == ["registered", "failed", "registered"]
    problem(site.register(1), 500, "internal_error")


def test_erased_salts(site: Site) -> None:
    post(site, [0])
    site.work()
    site.disk.vault.erase_key(ELECTION)
    problem(post(site, [0]), 410, "receipt_erased")


def test_the_largest_batch(site: Site) -> None:
    names = [f"{number:064d}" for number in range(MAX_BATCH)]
    body = request(site, [(name, name.encode()) for name in names])
    assert len(body) <= MAX_BATCH_JWS_BYTES
    assert statuses(site.post(PATH, body)) == ["pending"] * MAX_BATCH
    site.work()
    answer = site.post(PATH, body)
    assert [item["submission_id"] for item in ballots_of(answer)] == names
    assert {item["index"] for item in ballots_of(answer)} == set(range(1, MAX_BATCH + 1))


def test_a_short_wait_brings_all_receipts(tmp_path: Path) -> None:
    site = Site(tmp_path, wait=ShortWait(seconds=60, waiters=1))
    site.disk.create()
    site.work()
    worker = threading.Thread(target=site.work_on_pending, args=(5,))
    worker.start()
    answer = post(site, range(5))
    worker.join()
    assert (answer.status_code, statuses(answer)) == (200, ["registered"] * 5)
    site.logs.close()


# Evidence.


def test_the_request_is_kept_once_for_all_its_ballots(site: Site) -> None:
    body = of_numbers(site, [0, 1])
    for _ in range(2):
        site.post(PATH, body)
    site.register(2)
    site.post(PATH, of_numbers(site, [0, 2]))  # registers nothing new
    with site.disk.engine.begin() as connection:
        kept = connection.execute(select(registration_batches)).all()
        rows = connection.execute(
            select(registrations).order_by(registrations.c.submission_id)
        ).all()
    assert body in [row.request for row in kept]
    assert [row.batch_sha256 for row in rows] == [hashlib.sha256(body).digest()] * 2 + [None]
    assert [row.evidence is None for row in rows] == [True, True, False]
