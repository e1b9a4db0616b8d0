"""What the listener's routes need, and the bounds of what they take."""

import base64
import binascii
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

REQUEST_TYPE = "application/ocsp-request"

MAX_REQUEST_BYTES = 8_192
"""Of a POST body; the responder has the same limit."""

MAX_ENCODED = 1_024
"""Characters of the base64 in a GET path: a request without signature has about 230."""

Clock = Callable[[], datetime]


class OcspAnswer(Protocol):
    """An encoded OCSPResponse and what HTTP has to know about it."""

    @property
    def der(self) -> bytes:
        """The bytes to send."""
        ...

    @property
    def this_update(self) -> datetime | None:
        """Of a signed answer."""
        ...

    @property
    def next_update(self) -> datetime | None:
        """Of a signed answer."""
        ...

    @property
    def cacheable(self) -> bool:
        """Signed, and good for every client."""
        ...

    @property
    def incident(self) -> str | None:
        """The log's name for what kept it from being signed, None if nothing did."""
        ...


class PublishedList(Protocol):
    """A revocation list and what HTTP has to know about it."""

    @property
    def der(self) -> bytes:
        """The bytes to send."""
        ...

    @property
    def etag(self) -> str:
        """Names these bytes and no others."""
        ...

    @property
    def this_update(self) -> datetime:
        """Of the list."""
        ...

    @property
    def next_update(self) -> datetime:
        """Of the list."""
        ...


class CrlNotPublished(Exception):
    """The first list of this CA has not been made yet."""


class CrlUncertain(Exception):
    """The records of certificates are in doubt: no list is given out."""


class PkiService(Protocol):
    """What these routes need."""

    def answer(self, unverified_request: bytes, ca: str | None) -> OcspAnswer:
        """Answer one OCSP request as the named CA's responder; None: as any of ours."""
        ...

    def malformed(self) -> OcspAnswer:
        """The answer to what cannot even be decoded."""
        ...

    def certificate(self, ca: str) -> bytes | None:
        """DER of a CA's certificate, None if it is none of ours."""
        ...

    def list_certificate(self, ca: str) -> bytes | None:
        """DER of the certificate that verifies a CA's newest list; None if there is none here.

        Raises:
            CrlUncertain: the records of certificates are in doubt.
        """
        ...

    def crl(self, name: str) -> PublishedList | None:
        """The newest list of this name, None if there is no such list here.

        A CA's name means its complete list; with `.delta` behind it, its delta list.

        Raises:
            CrlNotPublished: the CA's first list is not there yet.
            CrlUncertain: the records of certificates are in doubt.
        """
        ...


def decoded(encoded: str) -> bytes | None:
    """The request in a GET path (RFC 6960 appendix A.1), its URL escapes undone; None if none."""
    if len(encoded) > MAX_ENCODED:
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
