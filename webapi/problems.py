"""Errors as RFC 9457 problems: one table from error class to what the client is told.

What goes out is fixed text from the table, never `str(error)`; the incident number joins the
answer to the one log line. Each blueprint package brings the rows of its area in a `PROBLEMS`
mapping; `merge_problems` refuses a class that two areas claim and a code with two meanings.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import MappingProxyType

import structlog
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from webapi.language import preferred_language
from webapi.limits import TooManyRequests
from webapi.request_watch import current_incident, note_problem
from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable
from webapi.strict_json import (
    BodyIncomplete,
    BodyNotUtf8,
    BodyTooLarge,
    ContentTypeWrong,
    JsonDuplicateKey,
    JsonMalformed,
    JsonShapeWrong,
    JsonTooDeep,
)
from webapi.uncaught import causes_of

MEDIA_TYPE = "application/problem+json"
"""RFC 9457 section 3."""

Fact = str | int | list[str]
ProblemTable = Mapping[type[Exception], "Problem"]

_log = structlog.get_logger(__name__)


class ProblemTableWrong(Exception):
    """Two areas claim one error class, or give one code two meanings."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a client is told about one kind of failure.

    Attributes:
        status: HTTP status.
        code: stable name for programs, lower_snake_case.
        title: one sentence for people; the same for every occurrence.
        next_step: what the reader can do now.
        detail: more of the cause, fixed text as well.
        retry_after_seconds: sent as Retry-After (RFC 9110 section 10.2.3) when set.
        facts: picks members of this occurrence out of the error that are safe to publish.
        title_mn: the title in Mongolian, for those who prefer it; "" has none.
        next_step_mn: likewise; given together with `title_mn`.
    """

    status: int
    code: str
    title: str
    next_step: str
    detail: str = ""
    retry_after_seconds: int | None = None
    facts: Callable[[Exception], Mapping[str, Fact]] | None = None
    title_mn: str = ""
    next_step_mn: str = ""


INTERNAL = Problem(
    status=500,
    code="internal_error",
    title="The service failed.",
    next_step="Try again later; if it happens again, tell the operator the incident number.",
)


def _wrong_fields(error: Exception) -> Mapping[str, Fact]:
    return {"fields": list(error.fields)} if isinstance(error, JsonShapeWrong) else {}


PROBLEMS: ProblemTable = {
    ContentTypeWrong: Problem(
        415,
        "content_type_wrong",
        "The body has another content type than this address takes.",
        "Send the content type that /openapi.json names for this address.",
    ),
    BodyTooLarge: Problem(
        413,
        "body_too_large",
        "The body is larger than this address takes.",
        "Send a smaller body.",
    ),
    BodyIncomplete: Problem(
        400,
        "body_incomplete",
        "The body ended before its Content-Length.",
        "Send the whole body.",
    ),
    BodyNotUtf8: Problem(400, "body_not_utf8", "The body is not UTF-8.", "Encode it as UTF-8."),
    JsonMalformed: Problem(
        400, "json_malformed", "The body is not a JSON object.", "Send one JSON object (RFC 8259)."
    ),
    JsonDuplicateKey: Problem(
        400,
        "json_duplicate_key",
        "The JSON names a member twice.",
        "Name every member once.",
    ),
    JsonTooDeep: Problem(
        400, "json_too_deep", "The JSON is nested too deeply.", "Send the flat shape documented."
    ),
    JsonShapeWrong: Problem(
        422,
        "json_shape_wrong",
        "The JSON has missing, unknown or wrongly typed members.",
        "Compare the named fields with /openapi.json.",
        facts=_wrong_fields,
    ),
    TooManyRequests: Problem(
        429,
        "too_many_requests",
        "Too many requests came from you.",
        "Try again in a minute.",
        retry_after_seconds=30,
        title_mn="Танаас хэт олон хүсэлт ирлээ.",
        next_step_mn="Нэг минутын дараа дахин оролдоно уу.",
    ),
    DatabaseBusy: Problem(
        503,
        "database_busy",
        "The service is too busy.",
        "Try again in a few seconds.",
        retry_after_seconds=2,
        title_mn="Үйлчилгээний ачаалал их байна.",
        next_step_mn="Хэдэн секундын дараа дахин оролдоно уу.",
    ),
    DatabaseUnavailable: Problem(
        503,
        "database_unavailable",
        "The service cannot reach its data.",
        "Try again in a few minutes; if it happens again, tell the operator the incident number.",
        retry_after_seconds=120,
        title_mn="Үйлчилгээ өгөгдөлдөө хүрч чадахгүй байна.",
        next_step_mn="Хэдэн минутын дараа дахин оролдоно уу; давтагдвал дугаарыг хэлж тусламж "
        "авна уу.",
    ),
}
"""Rows that every area needs: the request bodies, the rate limits and the database."""

_HTTP_STEPS = {
    400: ("bad_request", "Correct the request."),
    404: ("not_found", "Check the address; /openapi.json lists all of them."),
    405: ("method_not_allowed", "Use a method that the Allow header names."),
    413: ("body_too_large", "Send a smaller body."),
    415: ("content_type_wrong", "Send the content type that /openapi.json names."),
    429: ("too_many_requests", "Wait, then try again."),
}


def merge_problems(tables: Iterable[ProblemTable]) -> ProblemTable:
    """One table of all areas.

    Raises:
        ProblemTableWrong: a class occurs twice, or a code with two meanings.
    """
    merged: dict[type[Exception], Problem] = {}
    meanings: dict[str, tuple[int, str]] = {INTERNAL.code: (INTERNAL.status, INTERNAL.title)}
    for table in tables:
        for error_class, problem in table.items():
            if error_class in merged:
                raise ProblemTableWrong(f"{error_class.__qualname__} has two rows")
            meaning = (problem.status, problem.title)
            if meanings.setdefault(problem.code, meaning) != meaning:
                raise ProblemTableWrong(f"code {problem.code} has two meanings")
            merged[error_class] = problem
    return MappingProxyType(merged)


def find_problem(error: Exception, table: ProblemTable) -> Problem | None:
    """The row of the error's class or of its nearest base class that has one."""
    for base in type(error).__mro__:
        if base in table:
            return table[base]
    return None


def problem_response(
    problem: Problem, incident: str, facts: Mapping[str, Fact] | None = None
) -> Response:
    """The answer as RFC 9457 section 3 has it, plus `code`, `next_step` and `incident`."""
    mongolian = bool(problem.title_mn) and preferred_language(request) == "mn"
    members: dict[str, Fact] = {
        **(facts or {}),
        "type": f"urn:tamga:problem:{problem.code}",
        "title": problem.title_mn if mongolian else problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "next_step": problem.next_step_mn if mongolian else problem.next_step,
        "incident": incident,
    }
    body = json.dumps(members, ensure_ascii=False)
    response = Response(body, status=problem.status, content_type=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Language"] = "mn" if mongolian else "en"
    if problem.status == HTTPStatus.UNAUTHORIZED:
        # RFC 9110 section 15.5.2 demands a challenge; no browser dialog knows this scheme.
        response.headers["WWW-Authenticate"] = "Tamga"
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(problem.retry_after_seconds)
    return response


def install_problem_handlers(app: Flask, tables: Iterable[ProblemTable] = ()) -> None:
    """Answer every error of `app` with a problem, from PROBLEMS and the areas' `tables`."""
    table = merge_problems([PROBLEMS, *tables])

    def handle(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return _http_answer(error)
        incident = current_incident()
        problem = find_problem(error, table)
        if problem is None:
            note_problem(INTERNAL.code)
            _log.error(
                "unexpected_error",
                incident=incident,
                endpoint=request.endpoint,
                causes=causes_of(error),
            )
            return problem_response(INTERNAL, incident)
        _log_known(problem, incident, type(error).__qualname__)
        return problem_response(problem, incident, problem.facts(error) if problem.facts else None)

    app.register_error_handler(Exception, handle)


def _http_answer(error: HTTPException) -> Response:
    # Flask itself lets redirects pass, and answers that a view made for abort().
    plain = error.get_response()
    status = plain.status_code
    code, next_step = _HTTP_STEPS.get(status, (f"http_{status}", "Correct the request."))
    problem = Problem(status, code, f"{HTTPStatus(status).phrase}.", next_step)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        problem = replace(INTERNAL, status=status)
    incident = current_incident()
    _log_known(problem, incident, type(error).__qualname__)
    response = problem_response(problem, incident)
    for name in ("Allow", "Retry-After"):
        if name in plain.headers:
            response.headers[name] = plain.headers[name]
    return response


def _log_known(problem: Problem, incident: str, error_class: str) -> None:
    note_problem(problem.code)
    log = _log.warning if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else _log.info
    log(
        "problem",
        incident=incident,
        code=problem.code,
        status=problem.status,
        endpoint=request.endpoint,
        error_class=error_class,
    )
