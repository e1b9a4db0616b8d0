"""Turns a template into a page in the language that the address asks for."""

from flask import Response, make_response, render_template, request

from webapi.language import Language
from webapi.login.sessions import Session
from webapi.pages.texts import TEXTS


def page_language() -> Language:
    """English if the address says `?lang=en`, else Mongolian."""
    return "en" if request.args.get("lang") == "en" else "mn"


def page(template: str, *, origin: str = "", session: Session | None = None) -> Response:
    """The page, escaped by the template engine.

    Args:
        template: file name in `templates/`.
        origin: of this site, for the citizen to compare.
        session: who is signed in.
    """
    texts = TEXTS[page_language()]
    response = make_response(
        render_template(template, t=texts, origin=origin, session=session, path=request.path)
    )
    response.headers["Content-Language"] = texts["lang"]
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept"
    return response
