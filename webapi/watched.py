"""The parts of the service with a measuring hand on each: part of the wiring.

Each does what the part inside does, and tells `Metrics` of it; none changes an outcome.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Engine

from ocsp.errors import NonceMismatch
from ocsp.responder.answering import Answer
from ocsp.status import Attempt
from ocsp.transport import HttpAnswer, HttpClient, KnownVersion
from signer.backend import Signature, SigningBackend
from signer.login.authenticate import AuthenticatedCitizen
from signer.login.challenge import StockedNonce
from signer.payload import Payload, Purpose
from signer.permit import PermitRecord, SigningPermit
from signer.permit_range import RangeRecord
from signer.receipts.growth import Step
from signer.receipts.log_store import SignedCheckpoint
from signer.verify import PublicKey
from webapi.audit_logs import AuditLogs
from webapi.elections.sequencing import ReceiptLogs
from webapi.login import problems as login_problems
from webapi.login.service import Decide
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import Metrics
from webapi.problems import INTERNAL, PROBLEMS, find_problem, merge_problems
from webapi.published_lists import Crl
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.elections import SqlElectionStore
from webapi.storage.log_store import SqlLogStore
from webapi.storage.permits import SqlPermitLedger
from webapi.storage.realm import Realm
from webapi.storage.registrations import SqlRegistrationStore

_LOGIN_PROBLEMS = merge_problems([PROBLEMS, login_problems.PROBLEMS])
_HTTP_OK = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedBackend:
    """`signer.backend.SigningBackend`: signatures by purpose and outcome."""

    inner: SigningBackend
    metrics: Metrics

    def public_key(self, purpose: Purpose) -> PublicKey:
        """As the backend inside."""
        return self.inner.public_key(purpose)

    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        """As the backend inside."""
        with self.metrics.signing(payload.purpose):
            return self.inner.sign(permit, payload, at=at)


@dataclass(frozen=True, slots=True)
class WatchedEgress:
    """`ocsp.transport.HttpClient`: questions to responders by outcome."""

    inner: HttpClient
    metrics: Metrics

    def post(
        self,
        purpose: str,
        url: str,
        body: bytes,
        *,
        content_type: str,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
    ) -> HttpAnswer:
        """As the egress inside."""
        return self._counted(
            lambda: self.inner.post(
                purpose,
                url,
                body,
                content_type=content_type,
                accept=accept,
                max_bytes=max_bytes,
                timeout=timeout,
            )
        )

    def get(
        self,
        purpose: str,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
        known: KnownVersion | None = None,
    ) -> HttpAnswer:
        """As the egress inside."""
        return self._counted(
            lambda: self.inner.get(
                purpose, url, accept=accept, max_bytes=max_bytes, timeout=timeout, known=known
            )
        )

    def _counted(self, exchange: Callable[[], HttpAnswer]) -> HttpAnswer:
        began = time.monotonic()
        outcome = "http_error"
        try:
            answer = exchange()
            if answer.status == _HTTP_OK:
                outcome = "answered"
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            self.metrics.ocsp_asked(outcome, time.monotonic() - began)
        return answer


def tell_attempt(attempt: Attempt) -> None:
    """Log a question to a responder that brought no acceptable answer.

    The class and the responder alone: nothing of the certificate, nor of what came back. Somebody
    else's nonce is a replay, which is worth waking a person for.
    """
    told = _log.error if isinstance(attempt.cause, NonceMismatch) else _log.warning
    told(
        "status_not_learnt",
        source=attempt.source,
        error_class=type(attempt.cause).__qualname__,
    )


@dataclass(frozen=True, slots=True)
class WatchedDecision:
    """`webapi.login.service.Decide`: logins by the code that the citizen is told."""

    inner: Decide
    metrics: Metrics

    def __call__(
        self,
        *,
        unverified_challenge_id: str,
        unverified_token: object,
        browser_binding: bytes,
        at: datetime,
    ) -> AuthenticatedCitizen:
        """As the decision inside."""
        began = time.monotonic()
        outcome = "signed_in"
        try:
            return self.inner(
                unverified_challenge_id=unverified_challenge_id,
                unverified_token=unverified_token,
                browser_binding=browser_binding,
                at=at,
            )
        except Exception as error:
            outcome = (find_problem(error, _LOGIN_PROBLEMS) or INTERNAL).code
            raise
        finally:
            self.metrics.login_decided(outcome, time.monotonic() - began)


class WatchedChallenges(SqlChallengeStore):
    """The stock's level whenever it is counted, and every draw."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        super().__init__(engine)
        self._metrics = metrics

    def count_stock(self, origin: str, *, usable_until: datetime) -> int:
        """As the store."""
        level = super().count_stock(origin, usable_until=usable_until)
        self._metrics.stock_counted(level)
        return level

    def draw(self, origin: str, *, usable_until: datetime) -> StockedNonce | None:
        """As the store."""
        nonce = super().draw(origin, usable_until=usable_until)
        self._metrics.challenge_drawn(found=nonce is not None)
        return nonce


class WatchedPermitLedger(SqlPermitLedger):
    """Every reservation that was refused."""

    def __init__(self, engine: Engine, realm: Realm, metrics: Metrics) -> None:
        super().__init__(engine)
        self._realm = realm
        self._metrics = metrics

    def reserve(self, records: Sequence[PermitRecord]) -> None:
        """As the ledger."""
        with self._metrics.reserving(self._realm):
            super().reserve(records)

    def reserve_range(self, record: RangeRecord) -> None:
        """As the ledger."""
        with self._metrics.reserving(self._realm):
            super().reserve_range(record)


class WatchedLogStore(SqlLogStore):
    """The size of every batch that was signed, and permits that no batch got."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        super().__init__(engine)
        self._metrics = metrics

    def intend(
        self,
        log_id: str,
        *,
        previous_size: int,
        size: int,
        root: bytes,
        holder: str,
        permits: Sequence[PermitRecord],
    ) -> None:
        """As the store."""
        with self._metrics.reserving(Realm.BALLOTS):
            super().intend(
                log_id,
                previous_size=previous_size,
                size=size,
                root=root,
                holder=holder,
                permits=permits,
            )

    def commit_checkpoint(self, election_id: str, checkpoint: SignedCheckpoint) -> None:
        """As the store."""
        super().commit_checkpoint(election_id, checkpoint)
        self._metrics.batch_signed(checkpoint.size - checkpoint.previous_size)


class BatchTimer:
    """`signer.receipts.growth.StepObserver`: the time from a batch's places to its receipts.

    A batch whose places were given before a restart is not timed.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._assigned: dict[str, float] = {}

    def reached(self, step: Step, election_id: str) -> None:
        """Note the first step, measure at the last."""
        if step is Step.ASSIGNED:
            self._assigned[election_id] = time.monotonic()
        elif step is Step.RELEASED and election_id in self._assigned:
            self._metrics.batch_released(time.monotonic() - self._assigned.pop(election_id))


@dataclass(frozen=True, slots=True)
class WatchedOcspService:
    """`webapi.pki.routes.PkiService`: our own responder's answers by outcome."""

    inner: OcspService
    metrics: Metrics

    def answer(self, unverified_request: bytes, ca: str | None) -> Answer:
        """As the service inside."""
        return self._counted(self.inner.answer(unverified_request, ca))

    def malformed(self) -> Answer:
        """As the service inside."""
        return self._counted(self.inner.malformed())

    def certificate(self, ca: str) -> bytes | None:
        """As the service inside."""
        return self.inner.certificate(ca)

    def list_certificate(self, ca: str) -> bytes | None:
        """As the service inside."""
        return self.inner.list_certificate(ca)

    def crl(self, name: str) -> Crl | None:
        """As the service inside."""
        return self.inner.crl(name)

    def _counted(self, answer: Answer) -> Answer:
        outcome = "presigned" if answer.presigned else "signed"
        if answer.declined is not None:
            outcome = answer.declined.name.lower()
        self.metrics.ocsp_answered(outcome)
        return answer


@dataclass(frozen=True, slots=True)
class LogGauge:
    """Looks how the logs stand; a background job of the worker."""

    logs: ReceiptLogs
    engine: Engine
    metrics: Metrics

    def __call__(self) -> None:
        """Count what waits in the logs that are not closed and public to their end."""
        log, registrations = SqlLogStore(self.engine), SqlRegistrationStore(self.engine)
        pending = unpublished = 0
        for stored in SqlElectionStore(self.engine).list_all():
            if not stored.is_closed_in_public:
                pending += registrations.count_pending(stored.election_id)
                state = log.log_state(stored.election_id)
                unpublished += state.entries - state.published.size
        self.metrics.logs_counted(
            self.logs.count_states(), pending=pending, unpublished=unpublished
        )


@dataclass(frozen=True, slots=True)
class AuditGauge:
    """Looks how the audit logs stand; a background job of the worker."""

    logs: AuditLogs
    metrics: Metrics

    def __call__(self) -> None:
        """Count what waits to be sealed."""
        self.metrics.audit_counted(self.logs.count_states(), self.logs.count_unsealed())
