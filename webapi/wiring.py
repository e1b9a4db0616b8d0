"""The composition root: from settings to ready-made objects, for every process.

Web, worker, OCSP listener and command line each ask for what they need; a token
is opened only by the process that signs with it, and only after the fork.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from importlib.metadata import version

from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from ocsp.responder.answering import ResponderCa
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import RetryLater
from pkcs11_bridge.keyring import TokenKey, open_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.signing_keys import ec_signing_key
from pkcs11_bridge.uri import Pkcs11Uri
from signer.backend import PayloadSigner, PermittedSigner
from signer.errors import ChallengeStockEmpty, NoKeyForPurpose
from signer.hsm_backend import HsmBackend
from signer.login.authenticate import LoginRules, authenticate
from signer.login.challenge import StockPolicy, refill_stock
from signer.payload import Purpose, ocsp_response_payload
from signer.receipts.tile_store import TileFolder
from webapi import clock
from webapi.app import Area, Services, create_app
from webapi.elections import problems as election_problems
from webapi.elections.routes import elections_blueprint
from webapi.elections.sequencing import PublicationRules, ReceiptLogs
from webapi.elections.service import ElectionsService
from webapi.elections.waiting import ShortWait
from webapi.limits import RateLimit, SourceLimiter
from webapi.login.service import LoginService
from webapi.login.sessions import SessionPolicy
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import Metrics
from webapi.operations.readiness import Check, Readiness
from webapi.pki.routes import create_pki_app
from webapi.settings_model import Settings, Zone
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.elections import SqlElectionStore
from webapi.storage.engine import make_engine, watch_transactions
from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable
from webapi.storage.log_store import SqlLogStore
from webapi.storage.migration import require_current
from webapi.storage.permits import SqlPermitLedger
from webapi.storage.realm import Realm
from webapi.storage.registrations import SqlRegistrationStore
from webapi.storage.salt_keys import FileSaltVault
from webapi.storage.sessions import SqlSessionStore
from webapi.supervisor import protect_memory
from webapi.trust_settings import egress_of, read_certificate_file, trust_store_of
from webapi.watched import (
    BatchTimer,
    LogGauge,
    WatchedChallenges,
    WatchedDecision,
    WatchedLogStore,
    WatchedOcspService,
    WatchedPoster,
    WatchedSigner,
)

SOFTHSM_VARIABLE = "SOFTHSM2_CONF"
LOG_PURPOSES = (Purpose.RECEIPT_LOG, Purpose.RECEIPT_LOG_ED25519)
RECEIPT_WAIT_SECONDS = 1.0
RECEIPT_WAITERS = 16  # half of the threads of a web worker: the others stay free
REFILL_SECONDS = 0.5
PURGE_SECONDS = 60.0
LOG_GAUGE_SECONDS = 5.0
_CLIENT_REPORT_LIMIT = RateLimit(burst=10, per_minute=10.0)
ZONE_OF: Mapping[Purpose, Zone] = {
    Purpose.LOGIN_CHALLENGE: "login",
    Purpose.RECEIPT_LOG: "receipts",
    Purpose.RECEIPT_LOG_ED25519: "receipts",
    Purpose.OCSP_CITIZEN_CA: "pki",
}
"""On which zone's token each purpose has its key."""
REALM_OF: Mapping[Zone, Realm] = {
    "login": Realm.LOGIN,
    "receipts": Realm.BALLOTS,
    "pki": Realm.PKI,
}
"""Where the permits for a zone's keys are recorded."""
_REALMS_OF_WEB = (Realm.LOGIN, Realm.BALLOTS)


class SoftwareTokenInProduction(Exception):
    """In production a token said of itself that it is software."""


class ZoneNotConfigured(Exception):
    """A key is asked for whose zone has no section in the settings."""


class Wiring:
    """Makes this process's objects out of the settings; close it at the end.

    Nothing is opened before it is asked for.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._sessions: dict[Zone, TokenSessions] = {}
        self._engines: dict[Realm, Engine] = {}
        self._closing = ExitStack()
        development = settings.development
        if development is not None and development.softhsm2_conf is not None:
            # SoftHSM reads its configuration once, when the module is loaded.
            os.environ[SOFTHSM_VARIABLE] = str(development.softhsm2_conf)

    def engine(self, realm: Realm) -> Engine:
        """A realm's database, migrated; raises DatabaseNotCurrent."""
        if realm not in self._engines:
            engine = make_engine(self.settings.database.of(realm).url, realm)
            require_current(engine, realm)
            watch_transactions(engine, self.metrics.transaction_ended)
            self._engines[realm] = engine
        return self._engines[realm]

    @cached_property
    def metrics(self) -> Metrics:
        """What this process measures: in files for the listener of [metrics], else in memory."""
        return Metrics(CollectorRegistry())

    def close(self) -> None:
        """Release log locks, log out of every token that was opened, close the databases."""
        self._closing.close()
        for sessions in self._sessions.values():
            sessions.close()
        self._sessions.clear()
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()

    def token(self, zone: Zone) -> TokenSessions:
        """The sessions on a zone's token.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            SoftwareTokenInProduction: it is a program, whatever its module is called.
            pkcs11_bridge.errors.TokenError: in production, where it is opened here.
        """
        if zone not in self._sessions:
            self._sessions[zone] = self._new_sessions(zone)
        sessions = self._sessions[zone]
        if self.settings.service.mode == "production" and sessions.describe().is_software:
            raise SoftwareTokenInProduction(f"the token of [tokens.{zone}] is a software token")
        return sessions

    def _new_sessions(self, zone: Zone) -> TokenSessions:
        config = self.token_config(zone)
        protect_memory()
        return TokenSessions(config, self.metrics.token_pool(zone))

    def token_config(self, zone: Zone) -> TokenConfig:
        """How a zone's token is opened; raises ZoneNotConfigured."""
        settings = self.settings.tokens.get(zone)
        if settings is None:
            raise ZoneNotConfigured(f"there is no section [tokens.{zone}]")
        return TokenConfig(
            module=settings.module,
            uri=Pkcs11Uri(token=settings.token),
            pin_source=FilePinSource(settings.pin_file),
            latch_directory=settings.pin_latch_directory,
            sessions=settings.sessions,
            wait_seconds=settings.wait_seconds,
        )

    def signer(self, purposes: Iterable[Purpose]) -> PayloadSigner:
        """A signer for these purposes, of one realm; their keys are looked up now.

        Raises:
            ValueError: their permits belong into several realms.
            ZoneNotConfigured, pkcs11_bridge.errors.TokenError: a key cannot be had.
        """
        keys = {purpose: self.key(purpose) for purpose in purposes}
        (realm,) = {REALM_OF[ZONE_OF[purpose]] for purpose in keys}
        ledger = SqlPermitLedger(self.engine(realm))
        return WatchedSigner(PermittedSigner(HsmBackend(keys, ledger), ledger), self.metrics)

    def key(self, purpose: Purpose) -> TokenKey:
        """A purpose's key on its token; raises as `signer` does."""
        return open_key(self.token(ZONE_OF[purpose]), Pkcs11Uri(object=purpose))

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
        """The responder's plain-HTTP listener; it signs with its delegate's key alone.

        Raises:
            ZoneNotConfigured: no [ocsp_listener], or no token for its key.
            ocsp.errors.ResponderMisconfigured: certificates and key do not belong together.
        """
        listener = self.settings.ocsp_listener
        if listener is None:
            raise ZoneNotConfigured("there is no section [ocsp_listener]")
        authority = ResponderCa(
            name=listener.ca,
            certificate=read_certificate_file(listener.ca_certificate),
            delegate=read_certificate_file(listener.delegate_certificate),
            key=self._answering_key(Purpose.OCSP_CITIZEN_CA, owner=listener.ca),
            validity=listener.answer_life,
        )
        store = SqlCertificateStore(self.engine(Realm.PKI))
        service = OcspService(
            [authority], store, clock.now, busy=(RetryLater, DatabaseBusy, DatabaseUnavailable)
        )
        return create_pki_app(
            WatchedOcspService(service, self.metrics),
            clock.now,
            limiter=_limiter(
                listener.requests_per_source_burst, listener.requests_per_source_per_minute
            ),
            observer=self.metrics,
        )

    def _answering_key(self, purpose: Purpose, *, owner: str) -> ec.EllipticCurvePrivateKey:
        """A delegate's key in the shape that the responder signs with: a permit for each answer."""
        signer = self.signer([purpose])
        public_key = signer.public_key(purpose)
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise NoKeyForPurpose(f"the key {purpose} is not on P-256")

        def sign(message: bytes, _hash_name: str) -> bytes:
            payload = ocsp_response_payload(purpose, message)
            return signer.sign(payload, owner=owner, at=clock.now()).raw

        return ec_signing_key(public_key, sign)

    def worker_jobs(self) -> Iterator[tuple[str, Callable[[], None], float]]:
        """The background jobs: name, action, seconds between two runs."""
        for name, action, seconds in self._jobs():
            yield name, self.metrics.watched_job(name, action), seconds

    def _jobs(self) -> Iterator[tuple[str, Callable[[], None], float]]:
        challenges = WatchedChallenges(self.engine(Realm.LOGIN), self.metrics)
        login_signer = self.signer([Purpose.LOGIN_CHALLENGE])

        def refill() -> None:
            refill_stock(
                challenges,
                login_signer,
                origin=self.settings.service.origin,
                policy=self.stock_policy,
                at=clock.now(),
            )

        def purge() -> None:
            at = clock.now()
            challenges.purge(expired_before=at)
            SqlSessionStore(self.engine(Realm.LOGIN)).purge(policy=self.session_policy, at=at)

        logs = self._receipt_logs()
        yield "receipts", lambda: logs.run_once(at=clock.now()), self._batch_seconds
        yield "challenge-stock", refill, REFILL_SECONDS
        yield "purge", purge, PURGE_SECONDS
        gauge = LogGauge(logs, self.engine(Realm.BALLOTS), self.metrics)
        yield "log-gauge", gauge, LOG_GAUGE_SECONDS

    @property
    def _batch_seconds(self) -> float:
        return self.settings.receipts.batch_interval_seconds

    def _receipt_logs(self) -> ReceiptLogs:
        receipts = self.settings.receipts
        logs = ReceiptLogs(
            elections=SqlElectionStore(self.engine(Realm.BALLOTS)),
            log=WatchedLogStore(self.engine(Realm.BALLOTS), self.metrics),
            tiles=self._tiles,
            signer=self.signer(LOG_PURPOSES),
            purposes=LOG_PURPOSES,
            publication=PublicationRules(receipts.epoch, receipts.minimum_ballots_per_epoch),
            observer=BatchTimer(self.metrics),
        )
        self._closing.callback(logs.close)
        return logs

    def _tiles(self, election_id: str) -> TileFolder:
        return TileFolder(self.settings.receipts.log_directory / election_id)

    def elections_service(self) -> ElectionsService:
        """Registration, receipts and the public log; signs nothing."""
        return ElectionsService(
            audience=self.settings.service.origin,
            elections=SqlElectionStore(self.engine(Realm.BALLOTS)),
            registrations=SqlRegistrationStore(self.engine(Realm.BALLOTS)),
            log=SqlLogStore(self.engine(Realm.BALLOTS)),
            vault=FileSaltVault(self.settings.receipts.salt_key_directory),
            tiles=self._tiles,
            wait=ShortWait(RECEIPT_WAIT_SECONDS, RECEIPT_WAITERS),
            limiter=_limiter(
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
            trust_store=trust_store_of(settings),
            egress=WatchedPoster(egress_of(settings), self.metrics),
        )
        return LoginService(
            origin=settings.service.origin,
            challenges=challenges,
            stock_policy=self.stock_policy,
            decide=WatchedDecision(partial(authenticate, rules), self.metrics),
            sessions=SqlSessionStore(self.engine(Realm.LOGIN)),
            session_policy=self.session_policy,
            challenge_limiter=_limiter(
                settings.login.challenges_per_source_burst,
                settings.login.challenges_per_source_per_minute,
            ),
            report_limiter=SourceLimiter(_CLIENT_REPORT_LIMIT),
        )

    def readiness_checks(self) -> Mapping[str, Check]:
        """What a web worker needs before a citizen can be signed in; `tamga doctor` asks it too."""

        def check_stock() -> None:
            usable_until = clock.now() + self.stock_policy.challenge_life
            origin = self.settings.service.origin
            stock = SqlChallengeStore(self.engine(Realm.LOGIN))
            if not stock.count_stock(origin, usable_until=usable_until):
                raise ChallengeStockEmpty("the worker has signed no challenge that is usable now")

        def check_databases() -> None:
            for realm in _REALMS_OF_WEB:
                require_current(self.engine(realm), realm)

        return {"database": check_databases, "challenges": check_stock}


def _limiter(burst: int, per_minute: float) -> SourceLimiter:
    return SourceLimiter(RateLimit(burst=burst, per_minute=per_minute))
