"""What the service measures: one registry, units in the names, labels of few values.

A label is a route's name, a status, a code, a zone, a purpose or a job: never what a request
brought along, never a person, an address, an election or a submission.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from webapi.operations.token_metrics import TokenMetrics, TokenPool

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BODY_BYTES = (0, 256, 1_024, 4_096, 16_384, 65_536, 1_048_576)
BATCH_ENTRIES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 4_096)

Metric = TypeVar("Metric", bound=MetricWrapperBase)

JobAction = Callable[[], bool | None]
"""Does a background job once; True when more of it is left."""


class Metrics:
    """The measurements of this process.

    It is every observer that other parts ask for (`webapi.request_watch.HttpObserver`; for each
    token `pkcs11_bridge.pool_observer.PoolObserver`), so that only this package knows the client
    library.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        """Make all metrics in `registry`; the processes of a role share files (ADR 0011)."""
        self.registry = registry
        self._children: dict[tuple[object, ...], Any] = {}
        self._make_http()
        self._make_login()
        self._tokens = TokenMetrics(registry)
        self._make_signatures()
        self._make_receipts()
        self._make_audit()
        self._make_jobs()

    def _make_http(self) -> None:
        self._requests = self._counter(
            "tamga_http_requests_total", "Requests answered", "endpoint", "status"
        )
        self._request_seconds = self._histogram(
            "tamga_http_request_duration_seconds", "Time to answer", SECONDS, "endpoint"
        )
        self._request_bytes = self._histogram(
            "tamga_http_request_size_bytes", "Stated size of request bodies", BODY_BYTES, "endpoint"
        )
        self._in_progress = Gauge(
            "tamga_http_requests_in_progress",
            "Requests that hold a thread now",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._refusals = self._counter(
            "tamga_refusals_total", "Requests answered with a problem", "code"
        )

    def _make_login(self) -> None:
        self._logins = self._counter("tamga_logins_total", "Logins decided", "outcome")
        self._login_seconds = self._histogram(
            "tamga_login_decision_duration_seconds", "Time to decide a login", SECONDS
        )
        self._ocsp_queries = self._counter(
            "tamga_ocsp_queries_total", "Questions to the issuers' responders", "outcome"
        )
        self._ocsp_seconds = self._histogram(
            "tamga_ocsp_query_duration_seconds", "Time that a responder took", SECONDS
        )
        self._ocsp_answers = self._counter(
            "tamga_ocsp_answers_total", "Answers of our own responder", "outcome"
        )
        self._stock = self._worker_gauge(
            "tamga_challenge_stock", "Signed challenges found ready before the last refill"
        )
        self._draws = self._counter(
            "tamga_challenge_draws_total", "Challenges asked for of the stock", "outcome"
        )

    def _make_signatures(self) -> None:
        self._key_health = self._worker_gauge(
            "tamga_key_healthy",
            "1 for a key that signed its health text at the last check",
            "purpose",
        )
        self._signatures = self._counter(
            "tamga_signatures_total", "Signatures asked of a token", "purpose", "outcome"
        )
        self._signature_seconds = self._histogram(
            "tamga_signature_duration_seconds", "Time from permit to signature", SECONDS, "purpose"
        )

    def _make_receipts(self) -> None:
        self._batch_entries = self._histogram(
            "tamga_log_batch_entries", "Entries that one checkpoint added", BATCH_ENTRIES
        )
        self._batch_seconds = self._histogram(
            "tamga_log_batch_duration_seconds", "Time from places to receipts", SECONDS
        )
        self._waiters = Gauge(
            "tamga_receipt_waiters",
            "Requests that wait for their receipt now",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._logs = self._worker_gauge("tamga_logs", "Logs of this worker by state", "state")
        self._pending = self._worker_gauge(
            "tamga_ballots_pending", "Registered ballots without a place in their log"
        )
        self._unpublished = self._worker_gauge(
            "tamga_log_unpublished_entries", "Entries that the public does not see yet"
        )

    def _make_audit(self) -> None:
        self._audit_logs = self._worker_gauge(
            "tamga_audit_logs", "Audit logs of this worker by state", "state"
        )
        self._unsealed = self._worker_gauge(
            "tamga_audit_unsealed", "Audit entries that are not sealed yet", "realm"
        )

    def _make_jobs(self) -> None:
        self._transactions = self._histogram(
            "tamga_database_transaction_duration_seconds", "From the wait to the commit", SECONDS
        )
        self._connections = Gauge(
            "tamga_database_connections_in_use",
            "Connections of the pools in use",
            ["realm"],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._refused_reservations = self._counter(
            "tamga_permit_reservations_refused_total",
            "Permits and ranges of them that could not be reserved",
            "realm",
            "error",
        )
        self._jobs = self._counter(
            "tamga_job_runs_total", "Runs of background jobs", "job", "outcome"
        )
        self._job_seconds = self._histogram(
            "tamga_job_duration_seconds", "Time of one run", SECONDS, "job"
        )
        self._job_success = self._worker_gauge(
            "tamga_job_last_success_timestamp_seconds", "Unix time of the last good run", "job"
        )
        self._active = Gauge(
            "tamga_worker_active",
            "Workers of this host that work; the others stand by",
            registry=self.registry,
            multiprocess_mode="livesum",
        )

    def _child(self, metric: Metric, *labels: object) -> Metric:
        """The metric of these labels, asked of the library once: it checks and spells each anew."""
        key = (metric, *labels)
        child: Metric | None = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    def _worker_gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """A level that one process knows; it is gone when the process is."""
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode="livemostrecent")

    def request_began(self) -> None:
        """See HttpObserver."""
        self._in_progress.inc()

    def request_ended(
        self, *, endpoint: str, status: int, seconds: float, body_bytes: int, code: str | None
    ) -> None:
        """See HttpObserver."""
        self._in_progress.dec()
        self._child(self._requests, endpoint, status).inc()
        self._child(self._request_seconds, endpoint).observe(seconds)
        self._child(self._request_bytes, endpoint).observe(body_bytes)
        if code is not None:
            self._child(self._refusals, code).inc()

    def login_decided(self, outcome: str, seconds: float) -> None:
        """A login was decided: `signed_in`, or the code of the problem."""
        self._child(self._logins, outcome).inc()
        self._login_seconds.observe(seconds)

    def ocsp_asked(self, outcome: str, seconds: float) -> None:
        """A responder was asked: `answered`, `http_error`, or the class of the failure."""
        self._child(self._ocsp_queries, outcome).inc()
        self._ocsp_seconds.observe(seconds)

    def ocsp_answered(self, outcome: str) -> None:
        """Our own responder answered: `signed`, `presigned`, or the error status."""
        self._child(self._ocsp_answers, outcome).inc()

    def stock_counted(self, level: int) -> None:
        """So many challenges were ready."""
        self._stock.set(level)

    def challenge_drawn(self, *, found: bool) -> None:
        """A challenge was asked for, and one was there or none."""
        self._child(self._draws, "drawn" if found else "empty").inc()

    def token_pool(self, zone: str, stuck: Callable[[], None]) -> TokenPool:
        """The observer of a zone's token sessions; `stuck` is called when none is left."""
        return self._tokens.pool(zone, stuck)

    def key_checked(self, purpose: str, *, is_well: bool) -> None:
        """A key was asked for its health text."""
        self._child(self._key_health, purpose).set(is_well)

    @contextmanager
    def signing(self, purpose: str) -> Iterator[None]:
        """Times a signature; its outcome is `signed` or the class of the error."""
        began = time.monotonic()
        outcome = "signed"
        try:
            yield
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self._child(self._signatures, purpose, outcome).inc()
            self._child(self._signature_seconds, purpose).observe(time.monotonic() - began)

    def batch_signed(self, entries: int) -> None:
        """A checkpoint added so many entries."""
        self._batch_entries.observe(entries)

    def batch_released(self, seconds: float) -> None:
        """From the batch's places to its receipts it took so long."""
        self._batch_seconds.observe(seconds)

    def logs_counted(self, states: Mapping[str, int], *, pending: int, unpublished: int) -> None:
        """How the logs stand: how many in each state, and what waits in all of them."""
        for state, count in states.items():
            self._child(self._logs, state).set(count)
        self._pending.set(pending)
        self._unpublished.set(unpublished)

    def audit_counted(self, states: Mapping[str, int], unsealed: Mapping[str, int]) -> None:
        """How the audit logs stand: how many in each state, and what waits in each realm."""
        for state, count in states.items():
            self._child(self._audit_logs, state).set(count)
        for realm, waiting in unsealed.items():
            self._child(self._unsealed, realm).set(waiting)

    def transaction_ended(self, seconds: float) -> None:
        """A database transaction took so long, its wait for the lock included."""
        self._transactions.observe(seconds)

    def connection_taken(self, realm: str) -> None:
        """A pool gave a connection away."""
        self._child(self._connections, realm).inc()

    def connection_returned(self, realm: str) -> None:
        """A pool has a connection back, or has lost it."""
        self._child(self._connections, realm).dec()

    @contextmanager
    def receipt_awaited(self) -> Iterator[None]:
        """While a request waits for its receipt."""
        with self._waiters.track_inprogress():
            yield

    @contextmanager
    def reserving(self, realm: str) -> Iterator[None]:
        """Counts a reservation that fails, by the class of its error."""
        try:
            yield
        except Exception as error:
            self._child(self._refused_reservations, realm, type(error).__name__).inc()
            raise

    def worker_is_active(self, active: bool) -> None:  # noqa: FBT001 - the one fact that it tells
        """Whether this process is the worker that works, or one that stands by."""
        self._active.set(active)

    def watched_job(self, job: str, action: JobAction) -> JobAction:
        """The same job, each run counted and timed."""

        def run() -> bool | None:
            began = time.monotonic()
            outcome = "failed"
            try:
                unfinished = action()
                outcome = "done"
                self._child(self._job_success, job).set_to_current_time()
            finally:
                self._child(self._jobs, job, outcome).inc()
                self._child(self._job_seconds, job).observe(time.monotonic() - began)
            return unfinished

        return run
