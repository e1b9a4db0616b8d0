"""The usual OCSP request answered without a framework: a WSGI application in front of Flask's.

It takes what is well formed and leaves everything else, each refusal and each failure, to the
routes behind it, which know how to tell a client what is wrong. Both ask the same service.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from io import BytesIO
from typing import TYPE_CHECKING, Any

from webapi.browser_guard import HEADERS
from webapi.limits import SourceLimiter, source_of
from webapi.pki.answer_headers import answer_headers
from webapi.pki.service import (
    MAX_REQUEST_BYTES,
    REQUEST_TYPE,
    Clock,
    OcspAnswer,
    PkiService,
    decoded,
)
from webapi.request_watch import HttpObserver

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

ENDPOINT = "pki.ocsp"
_PATH = "/ocsp"
_EVERY_ANSWER = list(HEADERS.items())


@dataclass(frozen=True, slots=True)
class _Asked:
    request: bytes
    ca: str | None


class QuickLane:
    """A WSGI application.

    Args:
        behind: takes what this one leaves.
        service: answers.
        clock: gives aware UTC.
        limiter: how often one address may ask; whoever asks too often is left to `behind`.
        observer: is told of each request that is answered here.
    """

    def __init__(
        self,
        behind: "WSGIApplication",
        service: PkiService,
        clock: Clock,
        *,
        limiter: SourceLimiter,
        observer: HttpObserver,
    ) -> None:
        self._behind = behind
        self._service = service
        self._clock = clock
        self._limiter = limiter
        self._observer = observer

    # The environment holds values of any type (PEP 3333).
    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Answer, or let `behind` do it."""
        began = time.monotonic()
        asked = _usual(environ)
        at = self._clock()
        answer = None if asked is None else self._answer(environ, asked, at)
        if answer is None:
            return self._behind(environ, start_response)
        self._observer.request_began()
        try:
            start_response("200 OK", [*answer_headers(answer, at), *_EVERY_ANSWER])
        finally:
            self._observer.request_ended(
                endpoint=ENDPOINT,
                status=HTTPStatus.OK.value,
                seconds=time.monotonic() - began,
                body_bytes=int(environ.get("CONTENT_LENGTH") or 0),
                code=None,
            )
        return [answer.der]

    def _answer(self, environ: dict[str, Any], asked: _Asked, at: datetime) -> OcspAnswer | None:
        if asked.ca is not None and self._service.certificate(asked.ca) is None:
            return None
        try:
            self._limiter.spend(source_of(environ.get("REMOTE_ADDR")), at)
            return self._service.answer(asked.request, asked.ca)
        except Exception:  # noqa: BLE001 - the routes behind meet it again, and tell of it
            return None


def _usual(environ: dict[str, Any]) -> _Asked | None:
    """The OCSP request in a well-formed HTTP request; None if there is none."""
    path: str = environ["PATH_INFO"]
    method = environ["REQUEST_METHOD"]
    if path != _PATH and not path.startswith(_PATH + "/"):
        return None
    ca, slash, encoded = path[len(_PATH) + 1 :].partition("/")
    if method == "POST" and not slash:
        body = _body(environ)
        return None if body is None else _Asked(body, ca or None)
    if method == "GET" and ca and encoded and "HTTP_IF_NONE_MATCH" not in environ:
        request = decoded(encoded)
        return None if request is None else _Asked(request, ca)
    return None


def _body(environ: dict[str, Any]) -> bytes | None:
    """The whole body of a POST of the right type; None if it is another, or not whole."""
    length: str = environ.get("CONTENT_LENGTH") or ""
    if (
        environ.get("CONTENT_TYPE") != REQUEST_TYPE
        or not length.isdecimal()
        or len(length) > len(str(MAX_REQUEST_BYTES))
        or int(length) > MAX_REQUEST_BYTES
    ):
        return None
    body: bytes = environ["wsgi.input"].read(int(length))
    # It was read: whoever is behind reads it from here.
    environ["wsgi.input"] = BytesIO(body)
    return body if len(body) == int(length) else None
