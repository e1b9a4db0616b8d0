"""What the login routes do, without HTTP: begin, sign in, resume, sign out."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from signer.login.authenticate import ACR, AMR, AuthenticatedCitizen
from signer.login.challenge import ChallengeStore, IssuedChallenge, StockPolicy, issue_challenge
from webapi.limits import SourceLimiter
from webapi.login.sessions import (
    LoginEvidence,
    Session,
    SessionPolicy,
    SessionStore,
    digest_of_secret,
    is_secret,
    new_secret,
)


class Decide(Protocol):
    """`signer.login.authenticate.authenticate` with the site's rules bound to it."""

    def __call__(
        self,
        *,
        unverified_challenge_id: str,
        unverified_token: object,
        browser_binding: bytes,
        at: datetime,
    ) -> AuthenticatedCitizen:
        """Decide one login, or raise what the problems table lists."""


class NotSignedIn(Exception):
    """The request has no session that is in force."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session just opened.

    Attributes:
        session_secret: the new cookie's value; nobody else knows it.
        session: as stored.
        evidence: as stored.
    """

    session_secret: str
    session: Session
    evidence: LoginEvidence

    def __repr__(self) -> str:
        return f"SignedIn(evidence_id={self.evidence.evidence_id!r})"


@dataclass(frozen=True, slots=True)
class LoginService:
    """The ready-made parts of a site's login.

    Attributes:
        origin: `https://host[:port]`.
        challenges: stock and issued challenges.
        stock_policy: gives a challenge's life.
        decide: the whole decision.
        rules_of: the issuer's rules by which a citizen was judged, in JSON, for the record.
        sessions: where sessions and evidence are kept.
        session_policy: when a session ends.
        challenge_limiter: how often a source may draw a challenge.
        report_limiter: how often a source may report a failure of its client.
    """

    origin: str
    challenges: ChallengeStore
    stock_policy: StockPolicy
    decide: Decide
    rules_of: Callable[[AuthenticatedCitizen], bytes]
    sessions: SessionStore
    session_policy: SessionPolicy
    challenge_limiter: SourceLimiter
    report_limiter: SourceLimiter

    def begin(self, browser_secret: str, *, source: str, at: datetime) -> IssuedChallenge:
        """A challenge for this browser.

        Raises:
            TooManyRequests: the source asked too often.
            ChallengeStockEmpty: none is ready.
        """
        self.challenge_limiter.spend(source, at)
        return issue_challenge(
            self.challenges,
            origin=self.origin,
            browser_binding=digest_of_secret(browser_secret),
            policy=self.stock_policy,
            at=at,
        )

    def sign_in(
        self,
        *,
        unverified_challenge_id: str,
        unverified_token: object,
        unverified_browser_secret: str | None,
        unverified_session_secret: str | None,
        at: datetime,
    ) -> SignedIn:
        """Decide the login and open a session under a new secret.

        The session that the browser had before ends: a secret that somebody planted in it is
        worth nothing after the login.

        Raises:
            signer.errors.LoginRefused, ocsp.errors.TrustError: why the login is refused.
        """
        citizen = self.decide(
            unverified_challenge_id=unverified_challenge_id,
            unverified_token=unverified_token,
            browser_binding=digest_of_secret(unverified_browser_secret),
            at=at,
        )
        secret = new_secret()
        evidence = _evidence_of(citizen, self.rules_of(citizen))
        session = Session(
            token_sha256=digest_of_secret(secret),
            subject=citizen.subject,
            display_name=citizen.display_name,
            acr=ACR,
            amr=AMR,
            certificate_sha256=citizen.certificate_sha256,
            evidence_id=evidence.evidence_id,
            authenticated_at=at,
            ends_at=at + self.session_policy.absolute,
            used_at=at,
        )
        self.sessions.open(session, evidence)
        self.sign_out(unverified_session_secret)
        return SignedIn(secret, session, evidence)

    def resume(self, unverified_session_secret: str | None, *, at: datetime) -> Session:
        """The session in force.

        Raises:
            NotSignedIn: there is none.
        """
        if not is_secret(unverified_session_secret):
            # Not worth a query: every query waits for the database's one lock.
            raise NotSignedIn("no cookie of ours")
        digest = digest_of_secret(unverified_session_secret)
        session = self.sessions.resume(digest, policy=self.session_policy, at=at)
        if session is None:
            raise NotSignedIn("no session in force")
        return session

    def sign_out(self, unverified_session_secret: str | None) -> None:
        """End the session, if there is one."""
        if is_secret(unverified_session_secret):
            self.sessions.end(digest_of_secret(unverified_session_secret))


def _evidence_of(citizen: AuthenticatedCitizen, rules: bytes) -> LoginEvidence:
    return LoginEvidence(
        evidence_id=secrets.token_hex(16),
        subject=citizen.subject,
        token_sha256=citizen.token_sha256,
        algorithm=citizen.algorithm,
        signature=citizen.signature,
        origin=citizen.origin,
        nonce=citizen.nonce,
        certificates=citizen.certificates,
        ocsp_request=citizen.evidence.request_der,
        ocsp_response=citizen.evidence.response_der,
        ocsp_nonce_matched=citizen.evidence.nonce_matched,
        responder=citizen.evidence.responder_name,
        responder_url=citizen.evidence.responder_url,
        from_cache=citizen.evidence.from_cache,
        this_update=citizen.evidence.this_update,
        decided_at=citizen.authenticated_at,
        rules=rules,
        lists=citizen.evidence.lists,
        authority_lists=citizen.evidence.authority_lists,
    )
