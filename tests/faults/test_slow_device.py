"""A device of 14 signatures a second: receipts do not wait until the challenges are signed."""

from datetime import UTC, datetime

from sqlalchemy import func, select

from tests.support.faults import Scene, await_fact, scene
from tests.support.home_database import often_on_sqlite
from tests.support.log_audit import audit_log
from tests.support.real_worker import real_worker
from webapi.cli.home import Home
from webapi.config import load_settings
from webapi.storage.challenges import challenge_stock
from webapi.storage.engine import opened_engine
from webapi.storage.realm import Realm

LOG = "log-a"
MILLISECONDS = 71
STOCK = 200
IN_A_SECOND = 1000 // MILLISECONDS
BATCHES = 3


def stock_of(home: Home) -> int:
    url = load_settings(home.config, {}).database.login.url
    with opened_engine(url, Realm.LOGIN) as engine, engine.begin() as connection:
        return connection.execute(select(func.count()).select_from(challenge_stock)).scalar_one()


def challenges_until_receipts(stage: Scene, count: int) -> int:
    """Register ballots; from the last one on, how many challenges come before their receipts."""
    stage.at = datetime.now(tz=UTC)
    stage.register_all(LOG, count)
    before = stock_of(stage.home)
    last = stage.registered[LOG][-1]
    await_fact(lambda: stage.fetch(LOG, last) is not None)
    came = stock_of(stage.home) - before
    assert all(stage.fetch(LOG, number) is not None for number in stage.registered[LOG])
    return came


# The repeat on PostgreSQL is of `make test-long`: what is slow here is not the database.
@often_on_sqlite
def test_receipts_come_between_the_challenges_of_an_empty_stock(home: Home) -> None:
    slow = {
        "MISCHIEF_SIGN_MS": str(MILLISECONDS),
        "MISCHIEF_SIGN_QUEUE": str(home.directory / "queue"),
        "TAMGA_LOGIN__STOCK_TARGET": str(STOCK),
    }
    with scene(home, at=datetime.now(tz=UTC)) as stage:
        stage.start()
        stage.create(LOG)
        with real_worker(home, "worker", **slow):
            await_fact(lambda: stock_of(home) > 0)
            came = [challenges_until_receipts(stage, 50) for _ in range(BATCHES)]
            level = stock_of(home)
        audit_log(stage, LOG)
    print(f"{', '.join(map(str, came))} challenges before 50 receipts, stock {level} of {STOCK}")
    # Told by what the device signs, as a machine that is busy with others has longer seconds. The
    # best of them: what looks here may be held up as well.
    assert min(came) < IN_A_SECOND
    assert 0 < level < STOCK
