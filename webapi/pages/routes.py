"""The pages: /, /login, and their two small files."""

from flask import Blueprint, Response

from webapi.pages.render import page


def pages_blueprint(*, origin: str) -> Blueprint:
    """The routes of the pages.

    Args:
        origin: of this site, shown for comparison with what the card program shows.
    """
    blueprint = Blueprint(
        "pages",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )

    @blueprint.get("/")
    @blueprint.get("/login")
    def login_page() -> Response:
        return page("login.html", origin=origin)

    return blueprint
