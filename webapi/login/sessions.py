"""Sessions and the record of the decision behind each, as the routes see them."""

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Protocol, TypeGuard

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
TOUCHES_PER_IDLE_LIMIT = 10
"""A use is written down only when the last written one is a tenth of the idle limit old."""


def new_secret() -> str:
    """A cookie's value: 256 random bits, 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def is_secret(unverified: str | None) -> TypeGuard[str]:
    """Whether a cookie is there in the shape of one of ours; says nothing about its origin."""
    return unverified is not None and _SECRET.fullmatch(unverified) is not None


def digest_of_secret(unverified_secret: str | None) -> bytes:
    """What the database knows of a cookie: its SHA-256, 32 bytes.

    An absent or misshapen cookie gives the digest of the empty text, which nothing is kept under.
    """
    if not is_secret(unverified_secret):
        return sha256(b"").digest()
    return sha256(unverified_secret.encode("ascii")).digest()


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """When a session ends.

    Attributes:
        idle: unused for so long.
        absolute: so long after the login, used or not.
    """

    idle: timedelta
    absolute: timedelta

    def __post_init__(self) -> None:
        if not timedelta(0) < self.idle <= self.absolute:
            raise ValueError("a session's idle limit is positive and within the absolute one")


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser.

    Attributes:
        token_sha256: SHA-256 of the cookie's value, 32 bytes.
        subject: the person's identifier.
        display_name: for greeting only.
        acr: OpenID Connect authentication context class.
        amr: RFC 8176 method names.
        certificate_sha256: fingerprint of the card's certificate, 32 bytes.
        evidence_id: names the `LoginEvidence`.
        authenticated_at: aware UTC.
        ends_at: absolute limit, aware UTC.
        used_at: last recorded use, aware UTC.
    """

    token_sha256: bytes = field(repr=False)
    subject: str = field(repr=False)
    display_name: str = field(repr=False)
    acr: str
    amr: tuple[str, ...]
    certificate_sha256: bytes = field(repr=False)
    evidence_id: str
    authenticated_at: datetime
    ends_at: datetime
    used_at: datetime

    def is_over(self, at: datetime, policy: SessionPolicy) -> bool:
        """Whether the session ended by either limit."""
        return at >= self.ends_at or at - self.used_at >= policy.idle

    def wants_touch(self, at: datetime, policy: SessionPolicy) -> bool:
        """Whether this use is late enough after the last recorded one to be recorded."""
        return at - self.used_at >= policy.idle / TOUCHES_PER_IDLE_LIMIT


@dataclass(frozen=True, slots=True)
class LoginEvidence:
    """Why a login was accepted, enough to judge it again offline.

    The card's signature is over the hashes of `origin` and `nonce` (Web eID), by the key of the
    first certificate. Our OCSP nonce is the one in `ocsp_response` where that matched.

    Attributes:
        evidence_id: 32 hexadecimal digits, random.
        subject: the person's identifier.
        token_sha256: SHA-256 of the token in canonical JSON, 32 bytes.
        algorithm: JOSE algorithm of the proof.
        signature: the card's, as in the token: raw r || s or RSA.
        origin: `https://host[:port]`, signed.
        nonce: the challenge's text, signed.
        certificates: DER, leaf first, anchor last.
        ocsp_request: our question; None if the answer is from the cache.
        ocsp_response: the raw DER answer; empty where lists said the status.
        ocsp_nonce_matched: the answer repeats the nonce of our request.
        responder: who signed it.
        responder_url: where it came from.
        from_cache: it was had for an earlier question.
        this_update: when the status was known to be good, aware UTC.
        decided_at: aware UTC.
        rules: the issuer's rules then, in JSON.
        lists: DER of the CRLs that said the status; empty where an answer did.
        authority_lists: DER of the CRLs by which the CA certificates were good.
    """

    evidence_id: str
    subject: str = field(repr=False)
    token_sha256: bytes = field(repr=False)
    algorithm: str
    signature: bytes = field(repr=False)
    origin: str
    nonce: str
    certificates: tuple[bytes, ...] = field(repr=False)
    ocsp_request: bytes | None = field(repr=False)
    ocsp_response: bytes = field(repr=False)
    ocsp_nonce_matched: bool
    responder: str
    responder_url: str
    from_cache: bool
    this_update: datetime
    decided_at: datetime
    rules: bytes = field(repr=False)
    lists: tuple[bytes, ...] = field(default=(), repr=False)
    authority_lists: tuple[bytes, ...] = field(default=(), repr=False)


class SessionStore(Protocol):
    """Where sessions are kept; each call is one durable transaction."""

    def open(self, session: Session, evidence: LoginEvidence) -> None:
        """Keep the evidence and the session, both or neither."""

    def resume(self, token_sha256: bytes, *, policy: SessionPolicy, at: datetime) -> Session | None:
        """The session in force under this digest; one that is over is removed."""

    def end(self, token_sha256: bytes) -> None:
        """Remove the session, if there is one."""

    def purge(self, *, policy: SessionPolicy, at: datetime) -> int:
        """Remove a bounded number of sessions that are over; the number removed."""
