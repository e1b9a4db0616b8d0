"""/health/live, /health/ready and /openapi.json."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, current_app, jsonify

from webapi.operations.openapi import describe, operation
from webapi.operations.readiness import Readiness


def operations_blueprint(
    readiness: Readiness, clock: Callable[[], datetime], *, origin: str, version: str
) -> Blueprint:
    """The routes for those who run the service.

    Args:
        readiness: asks the parts.
        clock: gives aware UTC.
        origin: of the service, for the API description.
        version: of the service, likewise.
    """
    blueprint = Blueprint("operations", __name__)

    @blueprint.get("/health/live")
    @operation("Whether this process answers")
    def live() -> Response:
        return jsonify(status="live")

    @blueprint.get("/health/ready")
    @operation("Whether every part that this process needs is ready")
    def ready() -> Response:
        parts = readiness.ask(clock())
        is_ready = all(state == "ready" for state in parts.values())
        response = jsonify(status="ready" if is_ready else "not ready", parts=parts)
        response.status_code = 200 if is_ready else 503
        return response

    @blueprint.get("/openapi.json")
    @operation("This description")
    def openapi() -> Response:
        return jsonify(describe(current_app, origin=origin, version=version))

    return blueprint
