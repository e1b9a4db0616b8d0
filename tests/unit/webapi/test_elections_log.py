"""What the public sees of a log, and the worker that grows it."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from signer.backend import Signature
from signer.payload import Payload
from signer.permit import SigningPermit
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import FenceLost
from signer.receipts.merkle import leaf_hash, root_of
from signer.receipts.note import UnverifiedNote, open_note
from signer.receipts.tiles import decode_bundle, decode_hashes
from tests.support.databases import Database
from tests.support.election_site import Site, problem
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW, TrialElection
from tests.support.software_signer import SoftwareBackend
from webapi.elections.backoff import Backoff
from webapi.storage.log_holds import HoldReason, SqlLogHolds


@pytest.fixture
def site(tmp_path: Path, database: Database) -> Iterator[Site]:
    made = Site(tmp_path, database=database)
    made.disk.create()
    made.work()
    yield made
    made.logs.close()


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


def published_size(site: Site) -> int:
    size: int = json.loads(site.client.get(f"/elections/{ELECTION}").data)["published_size"]
    return size


def test_nothing_of_a_log_on_hold_is_shown(site: Site) -> None:
    log = f"/log/{ELECTION}"
    holds = SqlLogHolds(site.disk.engine)
    holds.place(ELECTION, reason=HoldReason.RESTORED, slot=1)
    for path in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "tile/secret"):
        answer = site.client.get(f"{log}/{path}")
        problem(answer, 503, "log_on_hold")
        assert answer.headers["Retry-After"] == "60"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "show them to the operator" in answer.json["next_step"]  # type: ignore[index]  # JSON
    details = json.loads(site.client.get(f"/elections/{ELECTION}").data)
    assert details["published_size"] is None
    # What never changes, and other logs, are shown all the same.
    assert site.client.get(f"{log}/policy").status_code == 200
    problem(site.client.get("/log/another/checkpoint"), 404, "election_not_found")
    problem(site.client.get("/log/no%00id/checkpoint"), 404, "election_not_found")
    holds.release(ELECTION, statement="compared", slot=1)
    assert site.client.get(f"{log}/checkpoint").status_code == 200
    assert published_size(site) == 1


def test_no_single_ballot_moves_the_public_log(site: Site) -> None:
    site.register(0)
    site.work()
    # A long silence: each epoch is judged, and one ballot is too few.
    for hour in (1, 2, 3):
        site.at = NOW + timedelta(hours=hour)
        site.work()
    # The second ballot comes in mid-epoch: its receipt is out, and the public sees nothing of it.
    site.at += timedelta(minutes=4, seconds=37)
    site.register(1)
    site.work()
    assert site.fetch(1).status_code == 200
    assert published_size(site) == 1
    # Nor does a restart show it, nor a worker that is late at the next boundary.
    site.logs.close()
    site.logs = site.new_logs()
    site.work()
    assert published_size(site) == 1
    # The first ballot of the new epoch is not in what the epoch publishes.
    site.at += timedelta(minutes=10)
    site.register(2)
    site.work()
    assert published_size(site) == 3
    assert site.fetch(2).status_code == 200


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
    with capture_logs() as logs:
        for _ in range(3):
            other.run_once(at=NOW)
    # It is told once, not at every tick.
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("log_busy", "SequencerRunning")
    ]
    assert site.fetch(0).status_code == 202
    site.logs.close()
    other.run_once(at=NOW)
    assert site.fetch(0).status_code == 200
    with capture_logs() as logs:
        site.work()
    assert [entry["event"] for entry in logs] == ["log_busy"]
    other.close()
    assert other.halted == {}


def test_one_halted_log_leaves_the_others_running(site: Site) -> None:
    other = other_election(site)
    site.logs.close()
    (site.disk.folder / "logs" / ELECTION / "checkpoint").write_bytes(b"damaged")
    site.work()
    assert site.logs.halted == {ELECTION: "CheckpointFileMalformed"}
    site.work()
    assert other.log.log_state("other").published.size == 1


def other_election(site: Site) -> ReceiptDisk:
    other = ReceiptDisk(
        site.disk.folder,
        TrialElection(signer=site.disk.election.signer, election_id="other"),
        site.disk.database,
    )
    return other.create()


def test_an_error_that_may_pass_delays_its_own_log_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_election(site)
    site.work()
    sign = SoftwareBackend.sign

    def refuse(
        self: SoftwareBackend, permit: SigningPermit, payload: Payload, *, at: datetime
    ) -> Signature:
        if permit.owner == ELECTION:
            raise PermissionError
        return sign(self, permit, payload, at=at)

    monkeypatch.setattr(SoftwareBackend, "sign", refuse)
    site.register(0)
    with capture_logs() as logs:
        for tick in range(80):  # forty seconds
            other.register(tick)
            site.work(NOW + timedelta(milliseconds=500 * tick))
    assert other.log.log_state("other").signed_size == 81
    assert [entry["failures"] for entry in logs] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {(entry["event"], entry["log_id"], entry["error_class"]) for entry in logs} == {
        ("log_failed", ELECTION, "PermissionError")
    }
    monkeypatch.undo()
    site.work(NOW + timedelta(seconds=40))
    assert site.fetch(0).status_code == 202
    site.work(NOW + timedelta(seconds=70))
    assert site.fetch(0).status_code == 200


def test_pauses_double_up_to_half_a_minute_and_end() -> None:
    backoff, at = Backoff(), NOW
    seconds = []
    for _ in range(10):
        backoff.failed(ELECTION, at=at)
        later = at
        while backoff.is_pausing(ELECTION, at=later):
            later += timedelta(milliseconds=250)
        seconds.append((later - at).total_seconds())
        at = later
    assert seconds == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert backoff.is_pausing(ELECTION, at=at - timedelta(seconds=1))
    assert not backoff.is_pausing(ELECTION, at=at - timedelta(hours=1))  # the clock was set back
    assert not backoff.is_pausing("other", at=at)
    backoff.succeeded(ELECTION)
    assert backoff.failed(ELECTION, at=at) == 1


def test_a_lost_fence_is_compared_anew(site: Site) -> None:
    site.register(0)
    with pytest.raises(FenceLost):
        site.disk.log.intend(ELECTION, size=1, root=root_before(site), holder="another", permits=[])
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
