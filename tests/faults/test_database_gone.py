"""The database server goes and comes back: asked to come again, and nothing is lost or forked."""

import signal

import pytest

from tests.support.faults import Point, Scene
from tests.support.home_database import PostgresHome
from tests.support.log_audit import audit_all

LOG = "log-a"
JSON = {"Content-Type": "application/json"}
pytestmark = pytest.mark.parametrize("home_database", ["postgresql"], indirect=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=lambda how: how.name)
def test_while_the_server_is_gone_everybody_is_asked_to_come_again(
    stage: Scene, home_database: PostgresHome, how: signal.Signals
) -> None:
    server = home_database.server
    stage.order("fill_stock")
    stage.register_all(LOG, 3)
    stage.settle()
    signed = stage.sign_calls()

    server.stop(how)
    for answer in (
        stage.register(LOG, 90),
        stage.request("POST", "/auth/challenge", b"{}", JSON),
        stage.order_close(LOG),
    ):
        assert (answer.status, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"]
    stage.closed.clear()
    assert stage.request("GET", "/health/live").status == 200
    assert stage.request("GET", "/health/ready").status == 503
    assert stage.request("GET", f"/log/{LOG}/checkpoint").status in (200, 503)
    assert stage.run() == {"error": "DatabaseUnavailable"}
    assert stage.sign_calls() == signed

    server.start()
    assert stage.register(LOG, 3).status == 202
    assert stage.request("POST", "/auth/challenge", b"{}", JSON).status == 200
    stage.settle()
    audit_all(stage)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(Point("ASSIGNED"), marks=pytest.mark.long),
        Point("INTENT_RECORDED"),
        pytest.param(Point("permit recorded"), marks=pytest.mark.long),
        Point("SIGNED"),
    ],
    ids=str,
)
def test_a_batch_whose_server_crashes_is_finished_when_it_is_back(
    stage: Scene, home_database: PostgresHome, point: Point
) -> None:
    server = home_database.server
    stage.register_all(LOG, 2)
    stage.arm(point, LOG, action="pause")
    stage.service.send("run", at=stage.at)
    assert stage.service.receive() == {"paused": point.name}
    server.stop(signal.SIGQUIT)
    stage.service.send("go on", at=stage.at)
    assert stage.service.receive() == {"halted": {}, "busy": {}}
    server.start()
    assert stage.fetch(LOG, 0) is None
    stage.register_all(LOG, 1)
    stage.settle()
    facts = stage.order("facts", election_id=LOG)
    spent = [used for *_, used in facts["permits"]]
    audit_all(stage, unspent=spent.count(False))
