"""Where certificates' statuses are learnt: a part of the wiring, for web workers and the worker."""

from collections.abc import Iterator
from datetime import datetime
from functools import cached_property

from sqlalchemy import Engine

from ocsp.cache import CachedStatus
from ocsp.client import OcspClient
from ocsp.config import TrustStore
from ocsp.crl.authorities import CheckedAuthorities
from ocsp.crl.fetching import ListFetcher
from ocsp.crl.source import CrlSource, ReadLists, signers_of
from ocsp.path_process import JudgeProcess
from ocsp.status_order import StatusByOrder
from ocsp.trust import StatusSource
from webapi import clock
from webapi.operations.metrics import JobAction, Metrics
from webapi.settings_model import Settings
from webapi.statuses import STATUS_REFRESH_SECONDS, StatusRefresh, asking
from webapi.storage.status_answers import SqlAnswerStore
from webapi.storage.status_lists import SqlListStore
from webapi.trust_settings import authority_rules_of, egress_of, trust_store_of
from webapi.watched import tell_attempt

CRL_REFRESH_SECONDS = 30.0
"""Between two looks for lists that are due."""


class StatusSources:
    """The trust store, its judge in a process of its own, responders and lists."""

    def __init__(self, settings: Settings, engine: Engine, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._judge = JudgeProcess()
        self._kept = SqlAnswerStore(engine)
        self._fetched = SqlListStore(engine)
        self._lists = ReadLists(self._fetched)

    @cached_property
    def trust_store(self) -> TrustStore:
        """Anchors and issuers; paths are judged in a process that can be ended."""
        return trust_store_of(self._settings, self._judge)

    def by_order(self) -> StatusSource:
        """Responders and lists by each issuer's order, after the lists of the CAs above it."""
        # Now, so that the first login finds it ready.
        self._judge.start()
        lists = CrlSource(self._lists, self.trust_store)
        # What was kept stands in last: the lists may know more.
        ordered = StatusByOrder(self._asking(lists), lists)
        source = CachedStatus(ordered, self._kept, delegates=lists.delegates_of)
        return CheckedAuthorities(source, self._lists, self.trust_store)

    def _asking(self, lists: CrlSource) -> OcspClient:
        return asking(self._settings, self._metrics, lists.delegates_of)

    def jobs(self) -> Iterator[tuple[str, JobAction, float]]:
        """The background jobs: answers in use are renewed, and lists fetched, ahead of need."""
        above = authority_rules_of(self._settings)
        lists = CrlSource(self._lists, self.trust_store)
        renewing = CachedStatus(self._asking(lists), self._kept, delegates=lists.delegates_of)
        refresh = StatusRefresh(renewing, self._kept, self.trust_store)
        yield "status-refresh", lambda: refresh.run_once(at=clock.now()), STATUS_REFRESH_SECONDS
        fetcher = ListFetcher(
            egress_of(self._settings),
            self._fetched,
            lambda rules: signers_of(self.trust_store, rules),
        )
        rules = [p.crl for p in self.trust_store.issuers if p.crl is not None]
        all_rules = rules if above is None else [*rules, above]

        def fetch() -> None:
            for attempt in fetcher.fetch_due(all_rules, at=clock.now()):
                tell_attempt(attempt)

        yield "crl-refresh", fetch, CRL_REFRESH_SECONDS

    def purge(self, at: datetime) -> None:
        """Remove answers and lists that are of no use any more."""
        self._kept.purge(useless_before=at)
        self._fetched.purge()

    def close(self) -> None:
        """End the judge's process."""
        self._judge.close()
