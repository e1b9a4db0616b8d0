"""What a web worker needs before a citizen can be signed in: part of the wiring."""

from collections.abc import Callable, Mapping

from sqlalchemy import Engine

from signer.errors import ChallengeStockEmpty
from signer.login.challenge import StockPolicy
from signer.payload import Purpose
from webapi import clock
from webapi.operations.readiness import Check
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.realm import Realm
from webapi.storage.version import require_current
from webapi.token_keys import TokenKeys

_REALMS = (Realm.LOGIN, Realm.BALLOTS)


def web_checks(
    engine: Callable[[Realm], Engine], keys: TokenKeys, origin: str, policy: StockPolicy
) -> Mapping[str, Check]:
    """The checks, by the names of their parts.

    Args:
        engine: gives a realm's database.
        keys: say how the keys of other processes are; none is touched.
        origin: of the service.
        policy: how long a challenge must be usable.
    """

    def check_stock() -> None:
        usable_until = clock.now() + policy.challenge_life
        stock = SqlChallengeStore(engine(Realm.LOGIN))
        if not stock.count_stock(origin, usable_until=usable_until):
            raise ChallengeStockEmpty("the worker has signed no challenge that is usable now")

    def check_databases() -> None:
        for realm in _REALMS:
            require_current(engine(realm), realm)

    def check_key() -> None:
        keys.require_healthy(Purpose.LOGIN_CHALLENGE, clock.now())

    return {"database": check_databases, "challenges": check_stock, "login-key": check_key}
