"""OCSP (RFC 6960 appendix A, RFC 9919 section 5), CA certificates and lists, over plain HTTP.

Every byte that leaves here is signed by itself or public, so no TLS; nothing else is served.
"""

from datetime import datetime, timedelta

from flask import Blueprint, Flask, Response, abort, request

from webapi.browser_guard import install_security_headers
from webapi.limits import SourceLimiter, source_of
from webapi.operations.openapi import operation
from webapi.pki.answer_headers import answer_headers
from webapi.pki.quick_lane import QuickLane
from webapi.pki.service import (
    MAX_REQUEST_BYTES,
    REQUEST_TYPE,
    Clock,
    CrlNotPublished,
    CrlUncertain,
    OcspAnswer,
    PkiService,
    decoded,
)
from webapi.problems import Problem, ProblemTable, install_problem_handlers
from webapi.request_watch import HttpObserver, install_request_watch
from webapi.strict_json import read_body

CERTIFICATE_TYPE = "application/pkix-cert"
"""RFC 5280 section 4.2.2.1."""

CRL_TYPE = "application/pkix-crl"
"""RFC 5280 section 4.2.1.13."""

CERTIFICATE_LIFE = timedelta(days=1)
"""For how long a CA certificate may be kept by caches."""

CRL_LIFE = timedelta(minutes=5)
"""For how long caches may keep a list, or what verifies it: then they ask for a newer one."""

PROBLEMS: ProblemTable = {
    CrlNotPublished: Problem(
        503,
        "crl_not_published",
        "There is no revocation list yet.",
        "Try again in a few seconds.",
        retry_after_seconds=5,
    ),
    CrlUncertain: Problem(
        503,
        "certificate_records_in_doubt",
        "Nothing is said of certificates at the moment.",
        "Try again in a few minutes; the operator has been told.",
        retry_after_seconds=120,
    ),
}


def pki_blueprint(service: PkiService, clock: Clock) -> Blueprint:
    """The routes /ocsp, /certs and /crl.

    Args:
        service: answers, certificates and lists.
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
        body = decoded(encoded)
        answer = service.malformed() if body is None else service.answer(body, ca)
        response = _ocsp_response(answer, clock())
        if answer.cacheable:
            _answer_condition(response)
        return response

    _add_publications(blueprint, service, clock)
    return blueprint


def _add_publications(blueprint: Blueprint, service: PkiService, clock: Clock) -> None:
    @blueprint.get("/certs/<ca>.cer")
    @operation("Certificate of this CA, DER")
    def certificate(ca: str) -> Response:
        return _certificate_response(_require_ca(service, ca), CERTIFICATE_LIFE)

    @blueprint.get("/certs/crl-<ca>.cer")
    @operation("Certificate of the key that signed this CA's newest revocation list, DER")
    def list_certificate(ca: str) -> Response:
        der = service.list_certificate(ca)
        if der is None:
            abort(404)
        return _certificate_response(der, CRL_LIFE)

    @blueprint.get("/crl/<name>.crl")
    @operation("Revocation list of this CA, DER; <ca>.delta for the delta list (RFC 5280)")
    def revocation_list(name: str) -> Response:
        crl = service.crl(name)
        if crl is None:
            abort(404)
        at = clock()
        life = min(CRL_LIFE, max(crl.next_update - at, timedelta(0)))
        response = Response(crl.der, content_type=CRL_TYPE)
        response.headers["Cache-Control"] = f"max-age={int(life.total_seconds())}, public"
        response.last_modified = crl.this_update
        response.expires = at + life
        response.set_etag(crl.etag)
        _answer_condition(response)
        return response


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
    install_problem_handlers(app, [PROBLEMS])
    # Flask's own place for what is to stand in front of it.
    app.wsgi_app = QuickLane(app.wsgi_app, service, clock, limiter=limiter, observer=observer)  # type: ignore[method-assign]
    return app


def _require_ca(service: PkiService, ca: str) -> bytes:
    certificate = service.certificate(ca)
    if certificate is None:
        abort(404)
    return certificate


def _certificate_response(der: bytes, life: timedelta) -> Response:
    response = Response(der, content_type=CERTIFICATE_TYPE)
    response.headers["Cache-Control"] = f"max-age={int(life.total_seconds())}, public"
    response.add_etag()
    response.make_conditional(request)
    return response


def _answer_condition(response: Response) -> None:
    """Send nothing to whoever has it, as its ETag shows.

    If-Modified-Since does not show it (RFC 9110 section 13.1.3): it counts in seconds, and of two
    answers or lists in one second the later one may tell of a revocation.
    """
    if request.if_none_match:
        response.make_conditional(request)


def _ocsp_response(answer: OcspAnswer, at: datetime) -> Response:
    return Response(answer.der, headers=answer_headers(answer, at))
