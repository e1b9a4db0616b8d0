"""Where logins learn certificates' statuses, and the job that renews what they use.

Part of the wiring: an answer in use is asked for again before it is of no use.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ocsp.cache import AnswerStore, CachedStatus, KeptAnswer
from ocsp.chain import validate_path
from ocsp.client import OcspClient
from ocsp.config import CacheUse, TrustStore
from ocsp.errors import TrustError
from ocsp.trust import DelegatesOf
from webapi.operations.metrics import Metrics
from webapi.settings_model import Settings
from webapi.trust_settings import egress_of
from webapi.watched import WatchedEgress, tell_attempt

STATUS_REFRESH_SECONDS = 5.0
"""Between two runs of the job."""

HOT = timedelta(hours=1)
"""An answer that no login has used for so long is left to end."""

BATCH = 20
"""Questions of one run."""

AFTER_FAILURE = timedelta(minutes=1)
"""Before the next question about a certificate of which nothing new was learnt."""


def asking(settings: Settings, metrics: Metrics, delegates: DelegatesOf) -> OcspClient:
    """The issuers' responders, by their profiles."""
    egress = WatchedEgress(egress_of(settings), metrics)
    return OcspClient(egress, delegates=delegates, tell=tell_attempt)


class RefreshStore(AnswerStore, Protocol):
    """What the job asks of the store besides."""

    def due(self, *, at: datetime, used_since: datetime, limit: int) -> list[KeptAnswer]:
        """Good answers in use that are worth another question."""

    def postpone(self, certificate_sha256: bytes, *, until: datetime) -> None:
        """Nobody asks again for a while."""


@dataclass(frozen=True, slots=True)
class StatusRefresh:
    """Asks again, by the very rules of a login.

    Whoever is in the store has proved possession within the last hours, so the rule that nobody
    without the card makes us ask a responder holds.

    Attributes:
        source: asks and keeps.
        store: says what is due.
        trust_store: of today; what is kept about an issuer that is gone is not refreshed.
    """

    source: CachedStatus
    store: RefreshStore
    trust_store: TrustStore

    def run_once(self, *, at: datetime) -> bool:
        """One batch; True when more may be left."""
        due = self.store.due(at=at, used_since=at - HOT, limit=BATCH)
        for kept in due:
            # First: whatever happens next, the same certificate is not asked about at once again.
            self.store.postpone(kept.certificate_sha256, until=at + AFTER_FAILURE)
            self._refresh(kept, at)
        return len(due) == BATCH

    def _refresh(self, kept: KeptAnswer, at: datetime) -> None:
        try:
            chain = validate_path(kept.certificate_der, self.trust_store, at)
            if chain.profile.cache is not CacheUse.OFF:
                self.source.ask_and_keep(chain, at)
        except TrustError:
            # Expired, or of an issuer that is not trusted any more: it ends where it is.
            return
