"""The HTTP headers of an OCSP answer (RFC 9919 section 5.2)."""

import math
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
    this_update, next_update = answer.this_update, answer.next_update
    if answer.cacheable and this_update is not None and next_update is not None:
        seconds = at.timestamp()
        return _to_be_kept(
            answer.der, this_update, next_update, date=int(seconds), after=math.ceil(seconds)
        )
    # An answer to one client's nonce, or no answer at all.
    headers = [*_always(answer.der, int(at.timestamp())), ("Cache-Control", "no-store")]
    if answer.incident is not None:
        headers.append((INCIDENT_HEADER, answer.incident))
    return headers


# The same for all who ask within one second.
@lru_cache(maxsize=1_024)
def _to_be_kept(
    der: bytes, this_update: datetime, next_update: datetime, *, date: int, after: int
) -> list[tuple[str, str]]:
    # Half of the time left: caches fetch a new answer well before the end.
    seconds = max(0, int(next_update.timestamp()) - after) // 2
    return [
        *_always(der, date),
        ("Cache-Control", f"max-age={seconds}, public, no-transform, must-revalidate"),
        ("Last-Modified", http_date(this_update)),
        ("Expires", http_date(next_update)),
        ("ETag", f'"{sha256(der).hexdigest()}"'),
    ]


def _always(der: bytes, date: int) -> list[tuple[str, str]]:
    return [
        ("Content-Type", RESPONSE_TYPE),
        ("Content-Length", str(len(der))),
        ("Date", _date(date)),
    ]
