"""Trust stores over the test PKI, and posters that answer as they are told."""

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from urllib.parse import unquote

from ocsp.client import OcspClient
from ocsp.config import (
    IssuerProfile,
    TrustStore,
)
from ocsp.crl.rules import AuthorityStatusUnpublished
from ocsp.errors import TransportError
from ocsp.persons import PersonAttribute
from ocsp.transport import HttpAnswer, HttpClient, KnownVersion
from tests.support.certificates import CITIZEN_POLICY, Pki

NO_LISTS_ABOVE = AuthorityStatusUnpublished("these CAs publish no lists")
RESPONDER_URL = "http://127.0.0.1:8888/ocsp"


def citizen_profile(pki: Pki, **changes: object) -> IssuerProfile:
    """The profile of the citizen CA, with these fields changed."""
    profile = IssuerProfile(
        name="citizen",
        certificates=(pki.citizen_ca.der,),
        responders=(RESPONDER_URL,),
        required_policies=frozenset({CITIZEN_POLICY}),
        person=PersonAttribute("2.5.4.5", "PNOMN-[0-9]{12}"),
        authority_status=NO_LISTS_ABOVE,
    )
    return replace(profile, **changes)  # type: ignore[arg-type]  # names and types are IssuerProfile's


def trust_store(pki: Pki, **changes: object) -> TrustStore:
    """Root, national CA and the citizen profile, the profile with these fields changed."""
    return TrustStore(
        roots=(pki.root.der,),
        intermediates=(pki.national_ca.der,),
        issuers=(citizen_profile(pki, **changes),),
    )


def client(http: HttpClient, **changes: object) -> OcspClient:
    """An `OcspClient` that waits for nothing."""
    return replace(OcspClient(http, pause=lambda _seconds: None), **changes)  # type: ignore[arg-type]  # names and types are OcspClient's


@lru_cache(maxsize=16)
def _asked_by_get(url: str) -> tuple[str, bytes]:
    """The responder's URL and the request; kept, because measurements are not about this."""
    base, _, escaped = url.rpartition("/")
    return base, b64decode(unquote(escaped), validate=True)


@dataclass
class CannedPoster:
    """An `HttpClient` that hands the request to a function and keeps what it was asked."""

    reply: Callable[[bytes], bytes | HttpAnswer | TransportError]
    posted: list[tuple[str, str, int]] = field(default_factory=list)

    def post(
        self,
        purpose: str,
        url: str,
        body: bytes,
        *,
        content_type: str,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
    ) -> HttpAnswer:
        assert content_type == "application/ocsp-request"
        assert (accept, timeout > timedelta(0)) == ("application/ocsp-response", True)
        return self._answer(purpose, url, body, max_bytes)

    def get(
        self,
        purpose: str,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        timeout: timedelta,
        known: KnownVersion | None = None,
    ) -> HttpAnswer:
        base, body = _asked_by_get(url)
        assert (accept, timeout > timedelta(0)) == ("application/ocsp-response", True)
        return self._answer(purpose, base, body, max_bytes)

    def _answer(self, purpose: str, url: str, body: bytes, max_bytes: int) -> HttpAnswer:
        self.posted.append((purpose, url, max_bytes))
        match self.reply(body):
            case TransportError() as error:
                raise error
            case HttpAnswer() as answer:
                return answer
            case der:
                return HttpAnswer(200, "application/ocsp-response", der)
