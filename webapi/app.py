"""The web application, made of ready-made objects; it opens nothing by itself."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from flask import Blueprint, Flask
from jinja2 import StrictUndefined

from webapi import browser_guard
from webapi.login import problems as login_problems
from webapi.login.routes import login_blueprint
from webapi.login.service import LoginService
from webapi.operations.readiness import Readiness
from webapi.operations.routes import operations_blueprint
from webapi.pages.routes import pages_blueprint
from webapi.problems import ProblemTable, install_problem_handlers
from webapi.request_watch import HttpObserver, install_request_watch

MAX_BODY = 1_048_576
"""Bytes of any request body; each route has a smaller limit of its own."""


@dataclass(frozen=True, slots=True)
class Area:
    """A blueprint with the problems that its routes can raise.

    Attributes:
        blueprint: its routes, with their service objects inside.
        problems: rows for `webapi.problems`.
    """

    blueprint: Blueprint
    problems: ProblemTable


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the application needs, ready-made by the composition root.

    Attributes:
        origin: `https://host[:port]` of the site.
        version: of the service.
        strict_transport: send Strict-Transport-Security (production).
        clock: gives aware UTC.
        login: the site's login.
        readiness: asks the parts that this process needs.
        areas: further blueprints (elections, logs).
        observer: is told of each request.
    """

    origin: str
    version: str
    strict_transport: bool
    clock: Callable[[], datetime]
    login: LoginService
    readiness: Readiness
    areas: tuple[Area, ...]
    observer: HttpObserver


def create_app(services: Services) -> Flask:
    """The WSGI application of a web worker; call it after the fork.

    Raises:
        ProblemTableWrong: two areas contradict each other about an error.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["MAX_FORM_MEMORY_SIZE"] = 0  # no route takes a form
    app.jinja_env.undefined = StrictUndefined
    install_request_watch(app, services.observer)
    browser_guard.install_browser_guard(
        app, origin=services.origin, strict_transport=services.strict_transport
    )
    app.register_blueprint(login_blueprint(services.login, services.clock))
    app.register_blueprint(pages_blueprint(origin=services.origin))
    app.register_blueprint(
        operations_blueprint(
            services.readiness,
            services.clock,
            origin=services.origin,
            version=services.version,
        )
    )
    for area in services.areas:
        app.register_blueprint(area.blueprint)
    install_problem_handlers(
        app,
        [
            login_problems.PROBLEMS,
            browser_guard.PROBLEMS,
            *(area.problems for area in services.areas),
        ],
    )
    return app
