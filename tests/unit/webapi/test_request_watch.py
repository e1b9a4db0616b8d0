"""Incident numbers, security headers and body limits: on every route, errors too."""

from pathlib import Path

import pytest
import structlog
from flask import Blueprint, Flask
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.routing import Rule

from tests.support.election_site import Site as ElectionSite
from tests.support.election_site import problem
from tests.support.login import ORIGIN
from tests.support.web import Site, make_site, send
from webapi.app import Area
from webapi.browser_guard import HEADERS, SAFE_METHODS
from webapi.elections.problems import PROBLEMS
from webapi.elections.routes import elections_blueprint
from webapi.request_watch import INCIDENT_HEADER


def rules_of(app: Flask) -> list[Rule]:
    rules = list(app.url_map.iter_rules())
    assert len(rules) > 5
    return rules


def address_of(rule: Rule) -> str:
    """An address that the rule takes."""
    values = dict.fromkeys(rule.arguments, "x")
    built = rule.build(values)
    assert built is not None
    return built[1]


@pytest.fixture
def whole_site(tmp_path: Path) -> Site:
    """Login, pages, operations and elections in one application."""
    elections = ElectionSite(tmp_path)
    folder = tmp_path / "site"
    folder.mkdir(mode=0o700)
    return make_site(
        folder, areas=(Area(elections_blueprint(elections.service, elections.now), PROBLEMS),)
    )


def test_every_answer_of_every_route_bears_the_security_headers(whole_site: Site) -> None:
    client = whole_site.client()
    statuses = set()
    for rule in rules_of(whole_site.app):
        for method in [*sorted(rule.methods or set()), "DELETE", "BREW"]:
            answer = client.open(address_of(rule), method=method, base_url=ORIGIN)
            statuses.add(answer.status_code)
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, rule
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
            assert "Cache-Control" in answer.headers
            assert (INCIDENT_HEADER in answer.headers) == (answer.status_code >= 400)
    assert {200, 404, 405} <= statuses


def test_every_route_that_takes_a_body_limits_it_far_below_the_site(whole_site: Site) -> None:
    client = whole_site.client()
    taking = [rule for rule in rules_of(whole_site.app) if (rule.methods or set()) - SAFE_METHODS]
    assert len(taking) >= 6
    for rule in taking:
        for content_type in ("application/json", "application/jose"):
            answer = client.post(
                address_of(rule), data=bytes(250_000), content_type=content_type, base_url=ORIGIN
            )
            if answer.status_code != 415:
                assert answer.status_code == 413, rule


def chatty_area() -> Area:
    blueprint = Blueprint("chatty", __name__)

    @blueprint.get("/chatty")
    def chatty() -> str:
        structlog.get_logger().info("first")
        structlog.get_logger().info("second")
        raise KeyError("inside")

    return Area(blueprint, {})


def test_every_line_of_a_request_bears_the_number_of_its_answer(tmp_path: Path) -> None:
    client = make_site(tmp_path, areas=(chatty_area(),)).client()
    seen = []
    for _ in range(2):
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            answer = client.get("/chatty", base_url=ORIGIN)
        incident = answer.headers[INCIDENT_HEADER]
        assert answer.get_json()["incident"] == incident
        assert [line["event"] for line in logs] == ["first", "second", "unexpected_error"]
        assert {line["incident"] for line in logs} == {incident}
        seen.append(incident)
    assert seen[0] != seen[1]
    assert "incident" not in structlog.contextvars.get_contextvars()


def test_a_refused_cross_site_request_has_its_number_too(client: FlaskClient) -> None:
    answer = client.post("/auth/logout", json={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert answer.headers[INCIDENT_HEADER] == answer.get_json()["incident"]


def test_a_good_answer_has_no_number(client: FlaskClient) -> None:
    assert INCIDENT_HEADER not in send(client, "/auth/challenge").headers


def test_an_election_system_that_sends_too_much_is_told_to_wait(tmp_path: Path) -> None:
    site = ElectionSite(tmp_path, burst=2)
    site.disk.create()
    for number in range(2):
        assert site.register(number).status_code == 202
    refused = site.register(2)
    problem(refused, 429, "too_many_requests")
    assert site.disk.registrations.count_pending(site.disk.election.election_id) == 2


def test_what_another_key_signed_spends_nothing(tmp_path: Path) -> None:
    site = ElectionSite(tmp_path, burst=1)
    site.disk.create()
    good = site.disk.registration_jws(0, at=site.at)
    head, payload, signature = good.split(b".")
    forged = b".".join([head, payload, signature[:10] + signature[10:20][::-1] + signature[20:]])
    for _ in range(3):
        answer = site.post(f"/elections/{site.disk.election.election_id}/ballots", forged)
        problem(answer, 401, "request_signature_invalid")
    assert site.register(0).status_code == 202
