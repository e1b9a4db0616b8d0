"""The composition root: from settings to ready-made objects, for every process.

Web, worker, OCSP listener and command line each ask for what they need; a token
is opened only by the process that signs with it, and only after the fork.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from importlib.metadata import version
from urllib.parse import urlsplit

from flask import Flask
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from signer.login.authenticate import LoginRules, authenticate
from signer.login.challenge import OWNER as LOGIN_OWNER
from signer.login.challenge import StockPolicy, refill_stock
from signer.payload import Purpose
from signer.range_signer import LOGIN_CHALLENGE_RANGE, RangeSigner, RangeTerms
from signer.receipts.growth import SilentObserver
from signer.receipts.tile_store import TileFolder
from signer.rotation import Rotated
from webapi import clock
from webapi.app import Area, Services, create_app
from webapi.audit_anew import RealmAudit
from webapi.audit_folders import AuditFolders
from webapi.audit_logs import AuditLogs
from webapi.decision_record import rules_of
from webapi.elections import problems as election_problems
from webapi.elections.routes import elections_blueprint
from webapi.elections.sequencing import PublicationRules, ReceiptLogs
from webapi.elections.service import ElectionsService
from webapi.elections.waiting import ShortWait
from webapi.jobs import BackgroundJobs
from webapi.key_watch import watch_keys
from webapi.limits import RateLimit, SourceLimiter
from webapi.login.service import LoginService
from webapi.login.sessions import SessionPolicy
from webapi.ocsp_listener import Ground, Listener
from webapi.ocsp_rotation import rotating_listener
from webapi.operations.metrics import JobAction, Metrics
from webapi.operations.readiness import Check, Readiness
from webapi.put_back import Containment, compare_audit_log
from webapi.range_signers import range_signers
from webapi.settings_model import Settings
from webapi.status_sources import StatusSources
from webapi.storage.audit_generations import SqlAuditGenerations
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.elections import SqlElectionStore
from webapi.storage.engine import make_engine, watch_pool, watch_transactions
from webapi.storage.lease import WorkerLease
from webapi.storage.log_holds import SqlLogHolds
from webapi.storage.log_store import SqlLogStore
from webapi.storage.realm import Realm
from webapi.storage.registrations import SqlRegistrationStore
from webapi.storage.salt_keys import FileSaltVault
from webapi.storage.sessions import SqlSessionStore
from webapi.storage.version import require_current
from webapi.token_keys import AskPin, TokenKeys, ZoneNotConfigured, ask_nobody
from webapi.watched import (
    AuditGauge,
    BatchTimer,
    LogGauge,
    WatchedChallenges,
    WatchedDecision,
    WatchedLogStore,
    WatchedPermitLedger,
)
from webapi.web_checks import web_checks

LOG_PURPOSES = (Purpose.RECEIPT_LOG, Purpose.RECEIPT_LOG_ED25519)
RECEIPT_WAIT_SECONDS = 1.0
RECEIPT_WAITERS = 16  # half of the threads of a web worker: the others stay free
REFILL_SECONDS = 0.5
PURGE_SECONDS = 60.0
LOG_GAUGE_SECONDS = 5.0
SEAL_SECONDS = 1.0
AUDIT_GAUGE_SECONDS = 5.0
_CLIENT_REPORT_LIMIT = RateLimit(burst=10, per_minute=10.0)
REALM_OF: Mapping[Purpose, Realm] = {
    Purpose.LOGIN_CHALLENGE: Realm.LOGIN,
    Purpose.OCSP_CITIZEN_CA: Realm.PKI,
    Purpose.CRL_CITIZEN_CA: Realm.PKI,
}
"""Where the ranges of permits of a purpose are recorded; a log's permits are in its own realm."""


class Wiring:
    """Makes this process's objects out of the settings; close it at the end.

    Nothing is opened before it is asked for; a PIN, where the settings say `prompt`, of `ask_pin`.
    """

    def __init__(self, settings: Settings, ask_pin: AskPin = ask_nobody) -> None:
        self.settings = settings
        self._ask_pin = ask_pin
        self._engines: dict[Realm, Engine] = {}
        self._closing = ExitStack()

    def engine(self, realm: Realm) -> Engine:
        """A realm's database, migrated; raises DatabaseNotCurrent."""
        if realm not in self._engines:
            engine = make_engine(self.settings.database.of(realm).url, realm)
            require_current(engine, realm)
            watch_transactions(engine, self.metrics.transaction_ended)
            watch_pool(
                engine,
                partial(self.metrics.connection_taken, realm),
                partial(self.metrics.connection_returned, realm),
            )
            self._engines[realm] = engine
        return self._engines[realm]

    @cached_property
    def metrics(self) -> Metrics:
        """What this process measures: in files for the listener of [metrics], else in memory."""
        return Metrics(CollectorRegistry())

    @cached_property
    def keys(self) -> TokenKeys:
        """The keys on their tokens."""
        return TokenKeys(self.settings, self.metrics, self._ask_pin)

    def close(self) -> None:
        """Release log locks, log out of every token that was opened, close the databases.

        What is asked for afterwards is opened anew.
        """
        with ExitStack() as last_first:  # each is closed, whatever becomes of the others
            for engine in self._engines.values():
                last_first.callback(engine.dispose)
            last_first.callback(self.keys.close)
            last_first.callback(self._closing.close)
        self._engines.clear()
        for cached in ("_ocsp_listener", "_statuses"):
            self.__dict__.pop(cached, None)

    def range_signers(
        self, purpose: Purpose, terms: RangeTerms, *, owner: str
    ) -> Rotated[RangeSigner]:
        """Signers for a purpose of high rate; their ranges end when the wiring is closed.

        Raises:
            ZoneNotConfigured, pkcs11_bridge.errors.TokenError: a key cannot be had.
        """
        realm = REALM_OF[purpose]
        return range_signers(
            self.keys.backends(purpose),
            WatchedPermitLedger(self.engine(realm), realm, self.metrics),
            purpose=purpose,
            owner=owner,
            terms=terms,
            closing=self._closing,
        )

    @property
    def stock_policy(self) -> StockPolicy:
        """How many challenges are kept, and how long they live."""
        login = self.settings.login
        return StockPolicy(
            target=login.stock_target,
            challenge_life=login.challenge_life,
            shelf_life=login.shelf_life,
        )

    @property
    def session_policy(self) -> SessionPolicy:
        """When sessions end."""
        login = self.settings.login
        return SessionPolicy(idle=login.session_idle, absolute=login.session_absolute)

    def web_application(self) -> Flask:
        """The site: no token is opened for it."""
        return create_app(
            Services(
                origin=self.settings.service.origin,
                version=version("tamga-auth"),
                strict_transport=self.settings.service.mode == "production",
                clock=clock.now,
                observer=self.metrics,
                login=self._login_service(),
                readiness=Readiness(self.readiness_checks()),
                areas=(
                    Area(
                        elections_blueprint(self.elections_service(), clock.now),
                        election_problems.PROBLEMS,
                    ),
                ),
            )
        )

    def ocsp_application(self) -> Flask:
        """The responder's plain-HTTP listener; it signs with its delegates' keys alone.

        Raises:
            ZoneNotConfigured: no [ocsp_listener], or no token for its key.
            CertificateNotConfigured: a key that signs, or will, has no certificate of its own.
            ocsp.errors.ResponderMisconfigured: certificates and key do not belong together.
        """
        return self._ocsp_listener.application

    def start_ocsp_jobs(self) -> None:
        """Sign in the background what the listener is asked for often; raises as its application.

        They end when the wiring is closed.
        """
        jobs = BackgroundJobs(self._ocsp_listener.jobs)
        self._closing.callback(jobs.close)
        jobs.start()

    @cached_property
    def _ocsp_listener(self) -> Listener:
        listener = self.settings.ocsp_listener
        if listener is None:
            raise ZoneNotConfigured("there is no section [ocsp_listener]")
        return rotating_listener(
            Ground(
                listener,
                self.engine(Realm.PKI),
                partial(self.compare_audit, Realm.PKI),
                self.metrics,
            ),
            certificate_file=self.keys.require_certificate_file,
            certificate_files=self.keys.certificate_files,
            range_signers=partial(self.range_signers, owner=listener.ca),
            clock=clock.now,
        )

    def watch_keys(self, purposes: Iterable[Purpose]) -> None:
        """Check these keys from now on, until the wiring is closed."""
        watch = watch_keys(self.keys, self.metrics, purposes)
        self._closing.callback(watch.stop)
        watch.start()

    def worker_lease(self) -> WorkerLease:
        """Decides which of all workers does the background jobs."""
        return WorkerLease(self.engine(Realm.BALLOTS))

    def worker_jobs(self) -> Iterator[tuple[str, JobAction, float]]:
        """The background jobs: name, action (True: more is left), seconds between two runs."""
        for name, action, seconds in self._jobs():
            yield name, self.metrics.watched_job(name, action), seconds

    def _jobs(self) -> Iterator[tuple[str, JobAction, float]]:
        challenges = WatchedChallenges(self.engine(Realm.LOGIN), self.metrics)
        login_signers = self.range_signers(
            Purpose.LOGIN_CHALLENGE, LOGIN_CHALLENGE_RANGE, owner=LOGIN_OWNER
        )

        def refill() -> bool:
            at = clock.now()
            added = refill_stock(
                challenges,
                login_signers.current(at),
                origin=self.settings.service.origin,
                policy=self.stock_policy,
                at=at,
            )
            return added > 0

        def purge() -> None:
            at = clock.now()
            challenges.purge(expired_before=at)
            SqlSessionStore(self.engine(Realm.LOGIN)).purge(policy=self.session_policy, at=at)
            self._statuses.purge(at)

        logs = self._receipt_logs()
        yield "receipts", lambda: logs.run_once(at=clock.now()), self._batch_seconds
        yield "challenge-stock", refill, REFILL_SECONDS
        yield "purge", purge, PURGE_SECONDS
        yield from self._statuses.jobs()
        gauge = LogGauge(logs, self.engine(Realm.BALLOTS), self.metrics)
        yield "log-gauge", gauge, LOG_GAUGE_SECONDS
        audits = self.audit_logs()
        yield "audit", lambda: audits.run_once(at=clock.now()), SEAL_SECONDS
        yield "audit-gauge", AuditGauge(audits, self.metrics), AUDIT_GAUGE_SECONDS

    @property
    def _batch_seconds(self) -> float:
        return self.settings.receipts.batch_interval_seconds

    def _receipt_logs(self) -> ReceiptLogs:
        receipts = self.settings.receipts
        logs = ReceiptLogs(
            elections=SqlElectionStore(self.engine(Realm.BALLOTS)),
            holds=SqlLogHolds(self.engine(Realm.BALLOTS)),
            log=WatchedLogStore(self.engine(Realm.BALLOTS), self.metrics),
            tiles=self._tiles,
            backend=self.keys.backend(LOG_PURPOSES, at=clock.now()),
            purposes=LOG_PURPOSES,
            publication=PublicationRules(receipts.epoch, receipts.minimum_ballots_per_epoch),
            observer=BatchTimer(self.metrics),
        )
        self._closing.callback(logs.close)
        return logs

    def _tiles(self, election_id: str) -> TileFolder:
        return TileFolder(self.settings.receipts.log_directory / election_id)

    def audit_logs(self) -> AuditLogs:
        """The audit logs of all realms; the audit key's token is opened when one is."""
        logs = AuditLogs(
            host=self.audit_host,
            log_of=self._active_audit_log,
            folders=self.audit_folders,
            backend=lambda: self.keys.backend([Purpose.AUDIT], at=clock.now()),
            observer=SilentObserver(),
            contain=Containment(self.engine, clock.now),
        )
        self._closing.callback(logs.close)
        return logs

    @property
    def audit_host(self) -> str:
        """The host in the names of the audit logs."""
        return urlsplit(self.settings.service.origin).hostname or ""

    @property
    def audit_folders(self) -> AuditFolders:
        """The folders of the audit logs."""
        return AuditFolders(self.settings.audit.directory)

    def realm_audit(self, realm: Realm) -> RealmAudit:
        """A realm's audit log with all its generations."""
        engine = self.engine(realm)
        return RealmAudit(
            realm,
            self.audit_host,
            SqlAuditGenerations(engine, realm),
            lambda generation: SqlAuditLog(engine, realm, generation),
            self.audit_folders,
        )

    def compare_audit(self, realm: Realm) -> None:
        """As `webapi.put_back.compare_audit_log`."""
        compare_audit_log(self._active_audit_log(realm), self.audit_folders)

    def _active_audit_log(self, realm: Realm) -> SqlAuditLog:
        audit = self.realm_audit(realm)
        return audit.log_of(audit.generations.active())

    def elections_service(self) -> ElectionsService:
        """Registration, receipts and the public log; signs nothing."""
        return ElectionsService(
            audience=self.settings.service.origin,
            elections=SqlElectionStore(self.engine(Realm.BALLOTS)),
            registrations=SqlRegistrationStore(self.engine(Realm.BALLOTS)),
            log=SqlLogStore(self.engine(Realm.BALLOTS)),
            holds=SqlLogHolds(self.engine(Realm.BALLOTS)),
            vault=FileSaltVault(self.settings.receipts.salt_key_directory),
            tiles=self._tiles,
            wait=ShortWait(RECEIPT_WAIT_SECONDS, RECEIPT_WAITERS, self.metrics.receipt_awaited),
            limiter=SourceLimiter.of(
                self.settings.receipts.registrations_per_key_burst,
                self.settings.receipts.registrations_per_key_per_minute,
            ),
        )

    def _login_service(self) -> LoginService:
        settings = self.settings
        challenges = WatchedChallenges(self.engine(Realm.LOGIN), self.metrics)
        rules = LoginRules(
            origin=settings.service.origin,
            challenges=challenges,
            trust_store=self._statuses.trust_store,
            statuses=self._statuses.by_order(),
        )
        return LoginService(
            origin=settings.service.origin,
            challenges=challenges,
            stock_policy=self.stock_policy,
            decide=WatchedDecision(partial(authenticate, rules), self.metrics),
            rules_of=lambda citizen: rules_of(citizen.profile),
            sessions=SqlSessionStore(self.engine(Realm.LOGIN)),
            session_policy=self.session_policy,
            challenge_limiter=SourceLimiter.of(
                settings.login.challenges_per_source_burst,
                settings.login.challenges_per_source_per_minute,
            ),
            report_limiter=SourceLimiter(_CLIENT_REPORT_LIMIT),
        )

    @cached_property
    def _statuses(self) -> StatusSources:
        sources = StatusSources(self.settings, self.engine(Realm.LOGIN), self.metrics)
        self._closing.callback(sources.close)
        return sources

    def readiness_checks(self) -> Mapping[str, Check]:
        """What a web worker needs before a citizen can be signed in; `tamga doctor` asks it too."""
        return web_checks(self.engine, self.keys, self.settings.service.origin, self.stock_policy)
