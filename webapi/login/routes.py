"""/auth/challenge, /auth/login, /auth/logout, /auth/error and /me: HTTP in, service, HTTP out."""

from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from flask import Blueprint, Response, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from webapi.language import preferred_language
from webapi.limits import source_of
from webapi.login import cookies
from webapi.login.client_failures import advice_for
from webapi.login.schemas import (
    ChallengeResponse,
    ClientFailure,
    ClientFailureAdvice,
    EmptyBody,
    LoginRequest,
    LoginResponse,
    OcspFacts,
    SessionFacts,
)
from webapi.login.service import LoginService, NotSignedIn, SignedIn
from webapi.login.sessions import Session, is_secret, new_secret
from webapi.operations.openapi import operation
from webapi.pages.render import page, page_language
from webapi.request_watch import current_incident
from webapi.strict_json import read_json

SMALL_BODY = 1_024
"""Bytes of a body that carries next to nothing."""

LOGIN_BODY = 16_384
"""Bytes of a login: a token has at most 10,000 characters (Web eID), plus the identifier."""

Clock = Callable[[], datetime]

_log = structlog.get_logger(__name__)


def login_blueprint(service: LoginService, clock: Clock) -> Blueprint:
    """The routes of the login.

    Args:
        service: ready-made.
        clock: gives aware UTC.
    """
    blueprint = Blueprint("login", __name__)
    _add_sign_in(blueprint, service, clock)
    _add_session(blueprint, service, clock)
    _add_report(blueprint, service, clock)
    return blueprint


def _add_sign_in(blueprint: Blueprint, service: LoginService, clock: Clock) -> None:
    @blueprint.post("/auth/challenge")
    @operation("Draw a challenge for this browser", body=EmptyBody, answer=ChallengeResponse)
    def challenge() -> Response:
        read_json(request, SMALL_BODY, EmptyBody)
        known = cookies.browser_secret(request)
        secret = known if is_secret(known) else new_secret()
        issued = service.begin(secret, source=source_of(request.remote_addr), at=clock())
        answer = ChallengeResponse(
            challenge_id=issued.challenge_id,
            nonce=issued.nonce,
            origin=issued.origin,
            expires_at=_rfc3339(issued.expires_at),
        )
        response = jsonify(answer.model_dump())
        cookies.set_browser(response, secret)
        return response

    @blueprint.post("/auth/login")
    @operation("Answer a challenge and open a session", body=LoginRequest, answer=LoginResponse)
    def login() -> Response:
        body = read_json(request, LOGIN_BODY, LoginRequest)
        signed_in = service.sign_in(
            unverified_challenge_id=body.challenge_id,
            unverified_token=body.auth_token,
            unverified_browser_secret=cookies.browser_secret(request),
            unverified_session_secret=cookies.session_secret(request),
            at=clock(),
        )
        _log.info("signed_in", evidence_id=signed_in.evidence.evidence_id)
        response = jsonify(_login_response(signed_in).model_dump())
        cookies.set_session(response, signed_in.session_secret, service.session_policy.absolute)
        cookies.forget(response, cookies.BROWSER)
        return response


def _add_session(blueprint: Blueprint, service: LoginService, clock: Clock) -> None:
    @blueprint.post("/auth/logout")
    @operation("End the session", body=EmptyBody, status=204)
    def logout() -> Response:
        read_json(request, SMALL_BODY, EmptyBody)
        service.sign_out(cookies.session_secret(request))
        response = Response(status=204)
        cookies.forget(response, cookies.SESSION)
        cookies.forget(response, cookies.BROWSER)
        return response

    @blueprint.get("/me")
    @operation("Who is signed in, as JSON or as a page", answer=SessionFacts)
    def me() -> AnyResponse:
        wants_page = request.accept_mimetypes.best_match(["application/json", "text/html"])
        try:
            session = service.resume(cookies.session_secret(request), at=clock())
        except NotSignedIn:
            if wants_page == "text/html":
                return redirect(url_for("pages.login_page", lang=page_language()), code=303)
            raise
        if wants_page == "text/html":
            return page("me.html", session=session)
        return jsonify(_session_facts(session).model_dump())


def _add_report(blueprint: Blueprint, service: LoginService, clock: Clock) -> None:
    @blueprint.post("/auth/error")
    @operation(
        "Report a failure of the citizen's computer", body=ClientFailure, answer=ClientFailureAdvice
    )
    def client_failure() -> Response:
        service.report_limiter.spend(source_of(request.remote_addr), clock())
        failure = read_json(request, SMALL_BODY, ClientFailure)
        advice = advice_for(failure.code)
        incident = current_incident()
        _log.info("client_failure", incident=incident, **failure.model_dump())
        answer = ClientFailureAdvice(
            code=failure.code,
            text=advice.text(preferred_language(request), failure.tries_left),
            incident=incident,
            reportable=advice.reportable,
        )
        return jsonify(answer.model_dump())


def _login_response(signed_in: SignedIn) -> LoginResponse:
    evidence = signed_in.evidence
    return LoginResponse(
        **_session_facts(signed_in.session).model_dump(),
        ocsp=OcspFacts(
            status="good",
            responder=evidence.responder,
            this_update=_rfc3339(evidence.this_update),
        ),
    )


def _session_facts(session: Session) -> SessionFacts:
    return SessionFacts(
        subject=session.subject,
        display_name=session.display_name,
        acr=session.acr,
        amr=list(session.amr),
        certificate_sha256=session.certificate_sha256.hex(),
        authenticated_at=_rfc3339(session.authenticated_at),
        ends_at=_rfc3339(session.ends_at),
    )


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
