"""What is measured, with labels of few values, none of which says who."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from ocsp.errors import TransportFailed
from ocsp.responder.answering import Answer, Declined
from ocsp.transport import HttpAnswer
from signer.backend import Signature
from signer.login.challenge import StockedNonce
from signer.payload import Payload, Purpose, login_challenge_payload
from signer.permit import SigningPermit
from tests.support.certificates import NOW
from tests.support.ledger import MemoryLedger, permit_of
from tests.support.login import ORIGIN
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import PURPOSES
from tests.support.software_signer import PrivateKey, SoftwareBackend
from tests.support.web import Site, draw, login_body, make_site, send
from webapi.elections.sequencing import PublicationRules, ReceiptLogs
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import Metrics
from webapi.pki.service import PkiService
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import make_engine, watch_pool, watch_transactions
from webapi.storage.log_holds import SqlLogHolds
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.watched import (
    BatchTimer,
    LogGauge,
    WatchedBackend,
    WatchedChallenges,
    WatchedEgress,
    WatchedLogStore,
    WatchedOcspService,
)

LABELS = {"endpoint", "status", "code", "outcome", "zone", "purpose", "state", "job", "le"} | {
    *("error", "cause", "after"),
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def labels_of(metrics: Metrics, name: str, label: str) -> set[str]:
    return {
        sample.labels[label]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_names_bear_the_project_and_the_unit(metrics: Metrics) -> None:
    metrics.token_pool("login", lambda: None)
    families = list(metrics.registry.collect())
    assert len(families) > 20
    for family in families:
        assert family.name.startswith("tamga_"), family.name
        assert family.documentation
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes", "_entries")), family.name
        for sample in family.samples:
            assert sample.labels.keys() <= LABELS


def test_requests_are_counted_by_route_and_refusals_by_code(site: Site) -> None:
    client = site.client()
    draw(client)
    client.get("/me", base_url=ORIGIN)
    client.post("/auth/logout", json={}, headers={"Sec-Fetch-Site": "cross-site"})
    metrics = site.metrics
    requests = "tamga_http_requests_total"
    assert value(metrics, requests, endpoint="login.challenge", status="200") == 1
    assert value(metrics, requests, endpoint="login.me", status="401") == 1
    assert value(metrics, requests, endpoint="login.logout", status="403") == 1
    for code in ("not_signed_in", "cross_site_request"):
        assert value(metrics, "tamga_refusals_total", code=code) == 1
    took = "tamga_http_request_duration_seconds_count"
    assert value(metrics, took, endpoint="login.challenge") == 1
    size = "tamga_http_request_size_bytes_sum"
    assert value(metrics, size, endpoint="login.challenge") == 2
    assert value(metrics, "tamga_http_requests_in_progress") == 0


@pytest.fixture(scope="module")
def long_lived_site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("metrics"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    path=st.text("abcдУБ0123456789-._~ /%", max_size=40),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "BREW"]),
)
def test_whatever_is_asked_for_the_labels_stay_few(
    long_lived_site: Site, path: str, method: str
) -> None:
    long_lived_site.client().open("/nowhere/" + path, method=method, base_url=ORIGIN)
    metrics = long_lived_site.metrics
    assert labels_of(metrics, "tamga_http_requests_total", "endpoint") == {"none"}
    assert labels_of(metrics, "tamga_refusals_total", "code") <= {"not_found", "cross_site_request"}


def test_logins_are_counted_by_outcome_and_name_nobody(site: Site) -> None:
    client = site.client()
    body = login_body(draw(client), site.pki.leaf)
    answer = send(client, "/auth/login", body).get_json()
    assert answer["subject"].startswith("PNOMN-")
    send(client, "/auth/login", body)
    client.get(f"/{answer['subject']}", base_url=ORIGIN)
    outcomes = labels_of(site.metrics, "tamga_logins_total", "outcome")
    assert outcomes == {"signed_in", "challenge_not_found"}
    assert value(site.metrics, "tamga_login_decision_duration_seconds_count") == 2
    text = generate_latest(site.metrics.registry).decode()
    for personal in (answer["subject"], answer["display_name"], "PNO", "127.0.0.1"):
        assert personal not in text


class FailingBackend(SoftwareBackend):
    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        raise TimeoutError("no session")


def test_signatures_are_counted_by_purpose_and_outcome(metrics: Metrics) -> None:
    payload = login_challenge_payload(b"tamga/login-challenge/1\0 and what follows")
    permit = permit_of(payload, MemoryLedger(), at=NOW)
    keys: dict[Purpose, PrivateKey] = {
        Purpose.LOGIN_CHALLENGE: ec.generate_private_key(ec.SECP256R1())
    }
    backend = WatchedBackend(SoftwareBackend(keys), metrics)
    assert backend.sign(permit, payload, at=NOW).purpose is Purpose.LOGIN_CHALLENGE
    assert backend.public_key(Purpose.LOGIN_CHALLENGE) is not None
    with pytest.raises(TimeoutError):
        WatchedBackend(FailingBackend(keys), metrics).sign(permit, payload, at=NOW)
    counted = "tamga_signatures_total"
    for outcome in ("signed", "TimeoutError"):
        assert value(metrics, counted, purpose="login-challenge", outcome=outcome) == 1
    took = "tamga_signature_duration_seconds_count"
    assert value(metrics, took, purpose="login-challenge") == 2


class Responder:
    def __init__(self, say: Callable[[], HttpAnswer]) -> None:
        self.say = say

    def post(self, *_args: object, **_named: object) -> HttpAnswer:
        return self.say()

    def get(self, *_args: object, **_named: object) -> HttpAnswer:
        return self.say()


def fail() -> HttpAnswer:
    raise TransportFailed("timed out")


def test_questions_to_responders_are_counted_by_outcome(metrics: Metrics) -> None:
    def ask(say: Callable[[], HttpAnswer]) -> HttpAnswer:
        return WatchedEgress(Responder(say), metrics).post(
            "ocsp",
            "http://x",
            b"",
            content_type="a/b",
            accept="a/b",
            max_bytes=1,
            timeout=timedelta(seconds=1),
        )

    fetched = WatchedEgress(Responder(lambda: HttpAnswer(200, "a/b", b"")), metrics).get(
        "ocsp", "http://x/y", accept="a/b", max_bytes=1, timeout=timedelta(seconds=1)
    )
    assert fetched.status == 200
    assert ask(lambda: HttpAnswer(500, "a/b", b"")).status == 500
    with pytest.raises(TransportFailed):
        ask(fail)
    assert labels_of(metrics, "tamga_ocsp_queries_total", "outcome") == {
        "answered",
        "http_error",
        "TransportFailed",
    }
    assert value(metrics, "tamga_ocsp_query_duration_seconds_count") == 3


class Answers(OcspService):
    def __init__(self, folder: Path) -> None:
        engine = make_engine(f"sqlite:///{folder}/pki.db", Realm.PKI)
        store = SqlCertificateStore(engine)
        super().__init__([], store, lambda: NOW, busy=(), require_agreement=lambda: None)

    def answer(self, unverified_request: bytes, ca: str | None) -> Answer:
        return Answer(b"signed")

    def malformed(self) -> Answer:
        return Answer(b"no", Declined.MALFORMED_REQUEST)

    def certificate(self, ca: str) -> bytes | None:
        return None


def test_our_own_ocsp_answers_are_counted_by_outcome(metrics: Metrics, tmp_path: Path) -> None:
    service: PkiService = WatchedOcspService(Answers(tmp_path), metrics)
    assert service.answer(b"", None).der == b"signed"
    assert service.malformed().der == b"no"
    assert service.certificate("x") is None
    outcomes = labels_of(metrics, "tamga_ocsp_answers_total", "outcome")
    assert outcomes == {"signed", "malformed_request"}


def test_a_pool_shows_use_waiting_and_waits_in_vain(metrics: Metrics) -> None:
    pool = metrics.token_pool("login", lambda: None)
    for _ in range(3):
        pool.waiting()
    pool.taken(0.25)
    pool.refused("TokenBusy")
    assert value(metrics, "tamga_token_sessions_in_use", zone="login") == 1
    assert value(metrics, "tamga_token_sessions_waiting", zone="login") == 1
    assert value(metrics, "tamga_token_busy_total", zone="login", error="TokenBusy") == 1
    assert value(metrics, "tamga_token_wait_duration_seconds_sum", zone="login") == 0.25
    pool.returned()
    assert value(metrics, "tamga_token_sessions_in_use", zone="login") == 0


def test_a_pool_shows_calls_that_hang_and_says_who_meets_them(metrics: Metrics) -> None:
    stuck = list[str]()
    pool = metrics.token_pool("login", lambda: stuck.append("stuck"))
    pool.given_up(1)
    pool.given_up(0)
    assert stuck == []
    pool.met_hung()
    assert stuck == ["stuck"]
    assert value(metrics, "tamga_token_sessions_hung", zone="login") == 2
    pool.came_back()
    assert value(metrics, "tamga_token_sessions_hung", zone="login") == 1


def test_a_pool_shows_what_ended_logins(metrics: Metrics) -> None:
    pool = metrics.token_pool("login", lambda: None)
    pool.logged_in("")
    pool.login_lost("LoggedOut")
    pool.logged_in("LoggedOut")
    assert value(metrics, "tamga_token_logins_lost_total", zone="login", cause="LoggedOut") == 1
    for after in ("start", "LoggedOut"):
        assert value(metrics, "tamga_token_logins_total", zone="login", after=after) == 1


def test_the_stock_shows_its_level_and_every_draw(metrics: Metrics, tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/login.db", Realm.LOGIN)
    upgrade(engine, Realm.LOGIN)
    stock = WatchedChallenges(engine, metrics)
    later = NOW + timedelta(hours=1)
    stock.add_stock([StockedNonce(ORIGIN, "n" * 128, later)])
    assert stock.count_stock(ORIGIN, usable_until=NOW) == 1
    assert value(metrics, "tamga_challenge_stock") == 1
    assert stock.draw(ORIGIN, usable_until=NOW) is not None
    assert stock.draw(ORIGIN, usable_until=NOW) is None
    for outcome in ("drawn", "empty"):
        assert value(metrics, "tamga_challenge_draws_total", outcome=outcome) == 1


def test_a_transaction_is_timed_with_its_wait_for_the_lock(
    metrics: Metrics, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/login.db"
    engine, other = (make_engine(url, Realm.LOGIN) for _ in range(2))
    upgrade(engine, Realm.LOGIN)
    watch_transactions(engine, metrics.transaction_ended)
    stock, asking = WatchedChallenges(engine, metrics), threading.Event()
    watch_pool(engine, asking.set, lambda: None)
    with ThreadPoolExecutor(1) as threads:
        with other.begin():
            waiting = threads.submit(stock.count_stock, ORIGIN, usable_until=NOW)
            assert asking.wait(60)
            time.sleep(0.1)
        assert waiting.result() == 0
    name = "tamga_database_transaction_duration_seconds"
    assert value(metrics, f"{name}_count") == 1
    assert (value(metrics, f"{name}_sum") or 0) >= 0.09
    with pytest.raises(RuntimeError), engine.begin():
        raise RuntimeError
    assert value(metrics, f"{name}_count") == 2


def test_jobs_are_counted_and_their_last_success_is_known(metrics: Metrics) -> None:
    def broken() -> None:
        raise OSError("no disk")

    metrics.watched_job("purge", lambda: None)()
    with pytest.raises(OSError, match="no disk"):
        metrics.watched_job("refill", broken)()
    assert value(metrics, "tamga_job_runs_total", job="purge", outcome="done") == 1
    assert value(metrics, "tamga_job_runs_total", job="refill", outcome="failed") == 1
    assert value(metrics, "tamga_job_duration_seconds_count", job="refill") == 1
    last = "tamga_job_last_success_timestamp_seconds"
    assert value(metrics, last, job="purge")
    assert value(metrics, last, job="refill") is None


def test_a_job_that_is_unfinished_says_so_through_its_watch(metrics: Metrics) -> None:
    assert metrics.watched_job("refill", lambda: True)() is True
    assert metrics.watched_job("purge", lambda: None)() is None


def test_whether_a_worker_is_the_active_one_is_a_level(metrics: Metrics) -> None:
    for active in (True, False):
        metrics.worker_is_active(active)
        assert value(metrics, "tamga_worker_active") == float(active)


def test_logs_show_their_batches_what_waits_and_what_halted(
    metrics: Metrics, tmp_path: Path
) -> None:
    disk = ReceiptDisk(tmp_path).create()
    logs = ReceiptLogs(
        elections=disk.elections,
        holds=SqlLogHolds(disk.engine),
        log=WatchedLogStore(disk.engine, metrics),
        tiles=lambda _: disk.files,
        backend=disk.election.signer,
        purposes=PURPOSES,
        publication=PublicationRules(epoch=timedelta(minutes=10), least=2),
        observer=BatchTimer(metrics),
    )
    gauge = LogGauge(logs, disk.engine, metrics)
    for number in range(3):
        disk.register(number)
    gauge()
    assert value(metrics, "tamga_ballots_pending") == 3
    logs.run_once(at=NOW)
    logs.run_once(at=NOW)
    gauge()
    assert value(metrics, "tamga_ballots_pending") == 0
    assert value(metrics, "tamga_log_unpublished_entries") == 3
    assert value(metrics, "tamga_log_batch_entries_sum") == 4
    assert value(metrics, "tamga_log_batch_duration_seconds_count") == 1
    for state, count in {"open": 1, "busy": 0, "failing": 0, "halted": 0}.items():
        assert value(metrics, "tamga_logs", state=state) == count
    logs.close()
