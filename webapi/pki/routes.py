"""OCSP (RFC 6960 appendix A, RFC 9919 section 5) and CA certificates, over plain HTTP.

Every byte that leaves here is signed by itself or public, so no TLS; nothing else is served.
"""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol

from flask import Blueprint, Flask, Response, abort, request
from werkzeug.http import http_date

from webapi.browser_guard import install_security_headers
from webapi.limits import SourceLimiter, source_of
from webapi.operations.openapi import operation
from webapi.problems import install_problem_handlers
from webapi.request_watch import HttpObserver, install_request_watch
from webapi.strict_json import read_body

REQUEST_TYPE = "application/ocsp-request"
RESPONSE_TYPE = "application/ocsp-response"
CERTIFICATE_TYPE = "application/pkix-cert"
"""RFC 5280 section 4.2.2.1."""

MAX_REQUEST_BYTES = 8_192
"""Of a POST body; the responder has the same limit."""

MAX_ENCODED = 1_024
"""Characters of the base64 in a GET path: a request without signature has about 230."""

CERTIFICATE_LIFE = timedelta(days=1)
"""For how long a CA certificate may be kept by caches."""

Clock = Callable[[], datetime]


class OcspAnswer(Protocol):
    """An encoded OCSPResponse and what HTTP has to know about it."""

    @property
    def der(self) -> bytes:
        """The bytes to send."""
        ...

    @property
    def this_update(self) -> datetime | None:
        """Of a signed answer."""
        ...

    @property
    def next_update(self) -> datetime | None:
        """Of a signed answer."""
        ...

    @property
    def cacheable(self) -> bool:
        """Signed, and good for every client."""
        ...


class PkiService(Protocol):
    """What these routes need."""

    def answer(self, unverified_request: bytes, ca: str | None) -> OcspAnswer:
        """Answer one OCSP request as the named CA's responder; None: as any of ours."""
        ...

    def malformed(self) -> OcspAnswer:
        """The answer to what cannot even be decoded."""
        ...

    def certificate(self, ca: str) -> bytes | None:
        """DER of the CA's certificate, None if there is no such CA here."""
        ...


def pki_blueprint(service: PkiService, clock: Clock) -> Blueprint:
    """The routes /ocsp and /certs.

    Args:
        service: answers and certificates.
        clock: gives aware UTC.
    """
    blueprint = Blueprint("pki", __name__)

    @blueprint.post("/ocsp")
    @operation("Status of a certificate of any CA here (RFC 6960)", body_type=REQUEST_TYPE)
    def ocsp_of_any() -> Response:
        body = read_body(request, REQUEST_TYPE, MAX_REQUEST_BYTES)
        return _ocsp_response(service.answer(body, None), clock())

    @blueprint.post("/ocsp/<ca>")
    @operation("Status of a certificate of this CA (RFC 6960)", body_type=REQUEST_TYPE)
    def ocsp(ca: str) -> Response:
        _require_ca(service, ca)
        body = read_body(request, REQUEST_TYPE, MAX_REQUEST_BYTES)
        return _ocsp_response(service.answer(body, ca), clock())

    # Base64 has slashes, also two in a row, which must not be merged into one.
    @blueprint.get("/ocsp/<ca>/<path:encoded>", merge_slashes=False)
    @operation("Status of a certificate of this CA, the request in base64 (RFC 6960 A.1)")
    def ocsp_by_get(ca: str, encoded: str) -> Response:
        _require_ca(service, ca)
        body = _decoded(encoded)
        answer = service.malformed() if body is None else service.answer(body, ca)
        return _ocsp_response(answer, clock())

    @blueprint.get("/certs/<ca>.cer")
    @operation("Certificate of this CA, DER")
    def certificate(ca: str) -> Response:
        response = Response(_require_ca(service, ca), content_type=CERTIFICATE_TYPE)
        seconds = int(CERTIFICATE_LIFE.total_seconds())
        response.headers["Cache-Control"] = f"max-age={seconds}, public"
        return response

    return blueprint


def create_pki_app(
    service: PkiService, clock: Clock, *, limiter: SourceLimiter, observer: HttpObserver
) -> Flask:
    """The WSGI application of the plain-HTTP listener; call it after the fork.

    Args:
        service: answers and certificates.
        clock: gives aware UTC.
        limiter: how often one address may ask; every request counts, whatever it asks for.
        observer: is told of each request.
    """

    def limit_source() -> None:
        limiter.spend(source_of(request.remote_addr), clock())

    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    install_request_watch(app, observer)
    app.before_request(limit_source)
    install_security_headers(app, strict_transport=False)
    app.register_blueprint(pki_blueprint(service, clock))
    install_problem_handlers(app)
    return app


def _require_ca(service: PkiService, ca: str) -> bytes:
    certificate = service.certificate(ca)
    if certificate is None:
        abort(404)
    return certificate


def _decoded(encoded: str) -> bytes | None:
    if len(encoded) > MAX_ENCODED:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def _ocsp_response(answer: OcspAnswer, at: datetime) -> Response:
    response = Response(answer.der, content_type=RESPONSE_TYPE)
    response.headers["Date"] = http_date(at)
    this_update, next_update = answer.this_update, answer.next_update
    if not answer.cacheable or this_update is None or next_update is None:
        # An answer to one client's nonce, or no answer at all.
        response.headers["Cache-Control"] = "no-store"
        return response
    # RFC 9919 section 5.2. Half of the time left: caches fetch a new answer well before the end.
    seconds = max(0, int((next_update - at).total_seconds()) // 2)
    response.headers["Cache-Control"] = f"max-age={seconds}, public, no-transform, must-revalidate"
    response.headers["Last-Modified"] = http_date(this_update)
    response.headers["Expires"] = http_date(next_update)
    response.set_etag(sha256(answer.der).hexdigest())
    return response
