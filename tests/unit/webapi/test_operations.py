"""Health and the API description."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Blueprint, jsonify
from flask.testing import FlaskClient
from werkzeug.wrappers import Response

from tests.support.certificates import NOW
from tests.support.login import ORIGIN
from tests.support.web import code_of, make_site
from webapi.app import Area
from webapi.operations.openapi import operation
from webapi.operations.readiness import Readiness
from webapi.problems import Problem, ProblemTableWrong


class Broken(Exception):
    """For the tests."""


def fail() -> None:
    raise Broken("slot 7")


def test_readiness_without_checks_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Readiness({})


def test_a_failed_part_is_named_and_nothing_else_is_told(tmp_path: Path) -> None:
    site = make_site(tmp_path, checks={"token": fail, "database": lambda: None})
    response = site.client().get("/health/ready", base_url=ORIGIN)
    assert response.status_code == 503
    assert response.get_json() == {
        "status": "not ready",
        "parts": {"token": "failed", "database": "ready"},
    }


def test_ready_and_live(client: FlaskClient) -> None:
    assert client.get("/health/live", base_url=ORIGIN).get_json() == {"status": "live"}
    response = client.get("/health/ready", base_url=ORIGIN)
    assert response.status_code == 200
    assert response.get_json()["status"] == "ready"


def test_a_part_that_hangs_is_late_and_asked_once_until_it_answers() -> None:
    begun, release = threading.Event(), threading.Event()
    asked: list[int] = []

    def hang() -> None:
        asked.append(1)
        begun.set()
        release.wait(60)

    readiness = Readiness({"token": hang}, answer_within=timedelta(milliseconds=20))
    for minute in range(4):
        assert readiness.ask(NOW + timedelta(minutes=minute)) == {"token": "late"}
        assert begun.wait(60)
    assert len(asked) == 1
    release.set()
    patient = Readiness({"token": hang}, answer_within=timedelta(seconds=60))
    assert patient.ask(NOW) == {"token": "ready"}


def test_an_answer_is_repeated_for_a_while_and_then_asked_for_again() -> None:
    broken = [True]

    def check() -> None:
        if broken:
            broken.pop()
            fail()

    readiness = Readiness({"token": check}, keep_answer=timedelta(seconds=5))
    assert readiness.ask(NOW) == {"token": "failed"}
    assert readiness.ask(NOW + timedelta(seconds=4)) == {"token": "failed"}
    assert readiness.ask(NOW + timedelta(seconds=5)) == {"token": "ready"}


def make_area() -> Area:
    blueprint = Blueprint("extra", __name__)

    @blueprint.post("/extra/<path:name>")
    @operation("Take something signed", body_type="application/jose", status=202)
    def extra(name: str) -> Response:
        return jsonify(name=name)

    @blueprint.get("/extra/broken")
    def broken() -> Response:
        raise Broken("inside")

    return Area(blueprint, {Broken: Problem(409, "broken", "It is broken.", "Mend it.")})


def test_the_description_comes_from_the_routes_and_types(tmp_path: Path) -> None:
    site = make_site(tmp_path, areas=(make_area(),))
    document = site.client().get("/openapi.json", base_url=ORIGIN).get_json()
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": ORIGIN}]
    paths = document["paths"]
    described = {"/auth/challenge", "/auth/login", "/auth/logout", "/auth/error", "/me"}
    assert described | {"/health/live", "/health/ready", "/openapi.json"} <= paths.keys()
    login = paths["/auth/login"]["post"]
    body = login["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/LoginRequest"}
    assert set(login["responses"]) == {"200", "default"}
    schemas = document["components"]["schemas"]
    assert schemas["LoginRequest"]["additionalProperties"] is False
    assert {"Problem", "OcspFacts", "ClientVersions"} <= schemas.keys()
    extra = paths["/extra/{name}"]["post"]
    assert extra["parameters"][0]["name"] == "name"
    assert "application/jose" in extra["requestBody"]["content"]
    assert set(extra["responses"]) == {"202", "default"}


def test_an_area_brings_its_own_problems(tmp_path: Path) -> None:
    client = make_site(tmp_path, areas=(make_area(),)).client()
    assert code_of(client.get("/extra/broken", base_url=ORIGIN)) == "broken"


def test_areas_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    other = Area(
        Blueprint("other", __name__),
        {KeyError: Problem(404, "broken", "Something else.", "Look elsewhere.")},
    )
    with pytest.raises(ProblemTableWrong, match="two meanings"):
        make_site(tmp_path, areas=(make_area(), other))


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/auth/login", 405, "method_not_allowed"),
        ("PUT", "/auth/login", 405, "method_not_allowed"),
        ("DELETE", "/me", 405, "method_not_allowed"),
    ],
)
def test_unknown_routes_and_methods_are_problems(
    client: FlaskClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.open(path, method=method, base_url=ORIGIN)
    assert code_of(response) == code
    assert response.status_code == status
