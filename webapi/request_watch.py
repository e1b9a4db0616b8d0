"""What every request gets: an incident number for its log lines, and an observer that counts it."""

import secrets
import time
from http import HTTPStatus
from typing import Protocol

import structlog
from flask import Flask, Response, g, request

INCIDENT_HEADER = "Tamga-Incident"
NO_ENDPOINT = "none"
"""Stands for every address and method that no route takes."""


class HttpObserver(Protocol):
    """Is told of each request; nothing that it is told says who sent it."""

    def request_began(self) -> None:
        """A request is under way."""

    def request_ended(
        self, *, endpoint: str, status: int, seconds: float, body_bytes: int, code: str | None
    ) -> None:
        """A request is over.

        Args:
            endpoint: the route's name, NO_ENDPOINT if no route took it.
            status: of the answer.
            seconds: it took.
            body_bytes: stated size of its body, 0 if it stated none.
            code: of the problem that was answered, None if there was none.
        """


def new_incident() -> str:
    """A random name (64 bits, hexadecimal) that joins an answer to its log lines."""
    return secrets.token_hex(8)


def current_incident() -> str:
    """The incident number of the request under way, the same whenever it is asked for."""
    return str(g.setdefault("incident", new_incident()))


def note_problem(code: str) -> None:
    """Remember for the observer with which problem this request was answered."""
    g.problem_code = code


def install_request_watch(app: Flask, observer: HttpObserver) -> None:
    """Bind the incident number to every log line of a request, send it with errors, and count.

    Call it before any other hook is installed, so that their refusals are seen as well.
    """

    def begin() -> None:
        g.began = time.monotonic()
        structlog.contextvars.bind_contextvars(incident=current_incident())
        observer.request_began()

    def note_answer(response: Response) -> Response:
        g.status = response.status_code
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            response.headers[INCIDENT_HEADER] = current_incident()
        return response

    def end(_error: BaseException | None) -> None:
        structlog.contextvars.unbind_contextvars("incident")
        observer.request_ended(
            endpoint=request.endpoint or NO_ENDPOINT,
            status=g.get("status", HTTPStatus.INTERNAL_SERVER_ERROR.value),
            seconds=time.monotonic() - g.began,
            body_bytes=request.content_length or 0,
            code=g.get("problem_code"),
        )

    app.before_request(begin)
    app.after_request(note_answer)
    app.teardown_request(end)
