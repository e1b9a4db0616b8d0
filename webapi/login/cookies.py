"""The two cookies, with the `__Host-` prefix (RFC 6265bis section 4.1.3.2).

The prefix makes browsers refuse the cookie unless it is Secure, has no Domain and Path=/: neither
a sister host nor plain HTTP can plant one.
"""

from datetime import timedelta

from flask import Request, Response

BROWSER = "__Host-tamga-browser"
"""Before the login: binds challenges to this browser."""

SESSION = "__Host-tamga-session"
"""After the login: names the session."""

BROWSER_LIFE = timedelta(hours=1)


def browser_secret(request: Request) -> str | None:
    """What the browser sent; unverified."""
    return request.cookies.get(BROWSER)


def session_secret(request: Request) -> str | None:
    """What the browser sent; unverified."""
    return request.cookies.get(SESSION)


def set_browser(response: Response, secret: str) -> None:
    """Strict: challenges are asked for and answered by our own pages alone."""
    response.set_cookie(
        BROWSER,
        secret,
        max_age=BROWSER_LIFE,
        secure=True,
        httponly=True,
        samesite="Strict",
        path="/",
    )


def set_session(response: Response, secret: str, life: timedelta) -> None:
    """Lax: a citizen who follows a link to us from elsewhere is still signed in."""
    response.set_cookie(
        SESSION, secret, max_age=life, secure=True, httponly=True, samesite="Lax", path="/"
    )


def forget(response: Response, name: str) -> None:
    """Make the browser drop a cookie."""
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="Lax")
