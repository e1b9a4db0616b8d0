"""The table of problems: no contradictions, no internals, one log line per incident."""

import re

import pytest
from flask import Flask, Response, abort
from structlog.testing import capture_logs

from tests.support.web import code_of
from webapi import browser_guard
from webapi.limits import TooManyRequests
from webapi.login import problems as login_problems
from webapi.problems import (
    PROBLEMS,
    Problem,
    ProblemTableWrong,
    find_problem,
    install_problem_handlers,
    merge_problems,
)
from webapi.storage.errors import StorageError
from webapi.uncaught import MAX_CAUSES


class TokenOnFire(Exception):
    """For the tests."""


class TokenOnFireBadly(TokenOnFire):
    """For the tests."""


FIRE = Problem(503, "token_on_fire", "The token burns.", "Leave.", retry_after_seconds=7)


def make_app() -> Flask:
    app = Flask("test")

    @app.get("/boom")
    def boom() -> Response:
        try:
            return Response(str(int("hunter2")))
        except ValueError as e:
            raise RuntimeError("password=hunter2 in /srv/secret.py") from e

    @app.get("/endless")
    def endless() -> Response:
        error = RuntimeError("its own cause")
        raise error from error

    @app.get("/fire")
    def fire() -> Response:
        raise TokenOnFireBadly("slot 7 of /usr/lib/hsm.so")

    @app.get("/abort/<int:code>")
    def give_up(code: int) -> Response:
        abort(code)

    @app.get("/own")
    def own() -> Response:
        abort(Response("own answer", status=418))

    @app.get("/folder/")
    def folder() -> str:
        return "here"

    install_problem_handlers(app, [{TokenOnFire: FIRE}])
    return app


def test_one_class_in_two_tables_is_refused() -> None:
    with pytest.raises(ProblemTableWrong, match="TokenOnFire has two rows"):
        merge_problems([{TokenOnFire: FIRE}, {TokenOnFire: FIRE}])


def test_one_code_with_two_meanings_is_refused() -> None:
    other = Problem(503, FIRE.code, "Something else.", "Wait.")
    with pytest.raises(ProblemTableWrong, match="token_on_fire has two meanings"):
        merge_problems([{TokenOnFire: FIRE}, {TokenOnFireBadly: other}])


def test_one_code_with_one_meaning_may_serve_two_classes() -> None:
    merged = merge_problems([{TokenOnFire: FIRE}, {TokenOnFireBadly: FIRE}])
    assert set(merged) == {TokenOnFire, TokenOnFireBadly}


def test_the_nearest_base_class_decides() -> None:
    near = Problem(500, "near", "Near.", "Wait.")
    table = merge_problems([{TokenOnFire: FIRE, TokenOnFireBadly: near}])
    assert find_problem(TokenOnFireBadly(), table) is near
    assert find_problem(TokenOnFire(), table) is FIRE
    assert find_problem(ValueError(), table) is None


def test_an_unexpected_error_shows_nothing_and_is_logged_once() -> None:
    with capture_logs() as logs:
        response = make_app().test_client().get("/boom")
    assert code_of(response) == "internal_error"
    assert response.status_code == 500
    for word in ("hunter2", "secret", "RuntimeError", "Traceback"):
        assert word not in response.text
    (entry,) = logs
    assert entry["incident"] == response.get_json()["incident"]
    assert entry["log_level"] == "error"
    outer, inner = entry["causes"]
    assert (outer["error_class"], inner["error_class"]) == ("RuntimeError", "ValueError")
    assert re.fullmatch(r".*test_problems\.py:\d+:boom", inner["frames"][-1])
    assert "hunter2" not in str(entry)


def test_an_error_that_causes_itself_is_logged_within_bounds() -> None:
    with capture_logs() as logs:
        make_app().test_client().get("/endless")
    (entry,) = logs
    assert len(entry["causes"]) == MAX_CAUSES


def test_a_known_error_gives_its_row_and_not_its_text() -> None:
    with capture_logs() as logs:
        response = make_app().test_client().get("/fire")
    assert code_of(response) == "token_on_fire"
    assert response.headers["Retry-After"] == "7"
    assert "slot" not in response.text
    (entry,) = logs
    assert entry["log_level"] == "warning"
    assert "slot" not in str(entry)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nowhere", 404, "not_found"),
        ("/abort/400", 400, "bad_request"),
        ("/abort/409", 409, "http_409"),
        ("/abort/429", 429, "too_many_requests"),
        ("/abort/500", 500, "internal_error"),
        ("/abort/502", 502, "internal_error"),
    ],
)
def test_http_errors_are_problems(path: str, status: int, code: str) -> None:
    response = make_app().test_client().get(path)
    assert code_of(response) == code
    assert response.status_code == status


def test_a_wrong_method_names_the_right_ones() -> None:
    response = make_app().test_client().post("/boom")
    assert code_of(response) == "method_not_allowed"
    assert "GET" in response.headers["Allow"]


def test_redirects_and_own_answers_pass() -> None:
    client = make_app().test_client()
    assert client.get("/folder").status_code == 308
    assert client.get("/own").get_data() == b"own answer"


def test_all_tables_of_the_application_agree_and_speak_both_languages() -> None:
    merged = merge_problems([PROBLEMS, login_problems.PROBLEMS, browser_guard.PROBLEMS])
    for error_class, problem in merged.items():
        assert 400 <= problem.status < 600
        assert problem.title.endswith(".")
        assert problem.next_step.endswith(".")
        assert problem.code == problem.code.lower()
        for_citizens = error_class in login_problems.PROBLEMS or issubclass(
            error_class, StorageError | TooManyRequests
        )
        assert bool(problem.title_mn) == for_citizens
        assert bool(problem.title_mn) == bool(problem.next_step_mn)
        if problem.facts is not None:
            assert problem.facts(ValueError("another class")) == {}
