"""The HTTP headers of an OCSP answer (RFC 9919 section 5.2)."""

from datetime import datetime
from functools import lru_cache
from hashlib import sha256

from werkzeug.http import http_date as werkzeug_date

from webapi.pki.service import OcspAnswer
from webapi.request_watch import INCIDENT_HEADER

RESPONSE_TYPE = "application/ocsp-response"


@lru_cache(maxsize=1_024)
def _date(seconds: int) -> str:
    return werkzeug_date(seconds)


def http_date(at: datetime) -> str:
    """An HTTP date (RFC 9110 section 5.6.7); the same few are asked for again and again."""
    return _date(int(at.timestamp()))


def answer_headers(answer: OcspAnswer, at: datetime) -> list[tuple[str, str]]:
    """All headers but those that every answer of this service bears.

    Args:
        answer: signed or not.
        at: now, in UTC.
    """
    headers = [
        ("Content-Type", RESPONSE_TYPE),
        ("Content-Length", str(len(answer.der))),
        ("Date", http_date(at)),
    ]
    if answer.incident is not None:
        headers.append((INCIDENT_HEADER, answer.incident))
    this_update, next_update = answer.this_update, answer.next_update
    if not answer.cacheable or this_update is None or next_update is None:
        # An answer to one client's nonce, or no answer at all.
        return [*headers, ("Cache-Control", "no-store")]
    # Half of the time left: caches fetch a new answer well before the end.
    seconds = max(0, int((next_update - at).total_seconds()) // 2)
    return [
        *headers,
        ("Cache-Control", f"max-age={seconds}, public, no-transform, must-revalidate"),
        ("Last-Modified", http_date(this_update)),
        ("Expires", http_date(next_update)),
        ("ETag", f'"{sha256(answer.der).hexdigest()}"'),
    ]
