"""What browsers are told, and what is refused when one of another site's pages asks."""

from flask import Flask, Response, request

from webapi.problems import Problem, ProblemTable

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110 section 9.2.1."""

# frame-ancestors: the card signs the origin of the page, so showing the page in a frame of
# another site is the one way to borrow it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: it turns the Origin of our own forms into "null" (Fetch standard).
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
}

TRANSPORT_SECURITY = "max-age=31536000"
"""RFC 6797; not sent in development, where it would bind the developer's localhost for a year."""


class CrossSiteRequest(Exception):
    """A browser sent this unsafe request for a page of another origin."""


PROBLEMS: ProblemTable = {
    CrossSiteRequest: Problem(
        403,
        "cross_site_request",
        "The request comes from a page of another site.",
        "Open this service's own page and try there.",
    )
}


def install_browser_guard(app: Flask, *, origin: str, strict_transport: bool) -> None:
    """Refuse cross-site requests and send the security headers, on every route.

    A browser that speaks of itself (Sec-Fetch-Site, Origin) must speak of our own origin; a
    program sends neither header and holds none of a citizen's cookies.

    Args:
        app: gets the hooks.
        origin: `https://host[:port]`.
        strict_transport: send Strict-Transport-Security.
    """

    def refuse_cross_site() -> None:
        if request.method in SAFE_METHODS:
            return
        site = request.headers.get("Sec-Fetch-Site")
        sender = request.headers.get("Origin")
        if site not in {None, "same-origin"} or sender not in {None, origin}:
            raise CrossSiteRequest("an unsafe request of another origin")

    app.before_request(refuse_cross_site)
    install_security_headers(app, strict_transport=strict_transport)


def install_security_headers(app: Flask, *, strict_transport: bool) -> None:
    """Send the security headers with every answer, errors too; no cache keeps what says nothing.

    Args:
        app: gets the hook.
        strict_transport: send Strict-Transport-Security; RFC 6797 section 7.2 forbids it over
            plain HTTP.
    """

    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if strict_transport:
            response.headers.setdefault("Strict-Transport-Security", TRANSPORT_SECURITY)
        if "Cache-Control" not in response.headers:
            response.headers["Cache-Control"] = "no-store"
        return response

    app.after_request(add_headers)
