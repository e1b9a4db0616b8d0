"""The login decision, from a challenge and a token to an authenticated citizen.

The order is that of the Web eID validation with one mend: the signature is
verified before the certificate's status is asked for, so that nobody without
the card's key can make this service query a responder.
"""

from dataclasses import InitVar, dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Never

from ocsp.chain import ValidatedChain, validate_path
from ocsp.config import IssuerProfile, TrustStore
from ocsp.status import Evidence
from ocsp.trust import StatusSource, TrustedCertificate, establish_trust
from signer.login.challenge import ChallengeStore, take_challenge
from signer.login.token import ProofOfPossession, parse_token, prove_possession

_SEAL = object()

# What a relying party is told about the strength of the login (OIDC acr, RFC 8176 amr).
ACR = "urn:tamga:acr:id-card"
AMR = ("hwk", "pin")


@dataclass(frozen=True, slots=True)
class AuthenticatedCitizen:
    """A person whose card signed this service's challenge; made by `authenticate` alone.

    What is proved is identity. Whether the person may do a thing is for the
    caller to decide.

    Attributes:
        subject: the person's identifier as the issuer's profile reads it.
        display_name: the name on the certificate, for greeting only.
        certificate_sha256: fingerprint, 32 bytes.
        token_sha256: SHA-256 of the canonical token, 32 bytes.
        algorithm: the JOSE algorithm of the proof.
        signature: what the card signed with that algorithm, as it is in the token.
        origin: `https://host[:port]`, signed.
        nonce: the challenge's text, signed.
        certificates: DER, leaf first, anchor last.
        profile: the rules of the issuer by which the certificate was judged.
        evidence: why its status was found good.
        authenticated_at: aware UTC.
    """

    subject: str = field(repr=False)
    display_name: str = field(repr=False)
    certificate_sha256: bytes
    token_sha256: bytes
    algorithm: str
    signature: bytes = field(repr=False)
    origin: str
    nonce: str
    certificates: tuple[bytes, ...] = field(repr=False)
    profile: IssuerProfile = field(repr=False)
    evidence: Evidence = field(repr=False)
    authenticated_at: datetime
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "an AuthenticatedCitizen is made by authenticate() alone"
            raise TypeError(msg)

    def __reduce__(self) -> Never:
        msg = "an AuthenticatedCitizen cannot be pickled"
        raise TypeError(msg)


@dataclass(frozen=True, slots=True)
class LoginRules:
    """What every login of one site is judged by.

    Attributes:
        origin: `https://host[:port]` of the site.
        challenges: issued challenges, each taken once.
        trust_store: anchors, intermediates and issuer profiles.
        statuses: where certificates' statuses are learnt.
    """

    origin: str
    challenges: ChallengeStore
    trust_store: TrustStore
    statuses: StatusSource


def authenticate(
    rules: LoginRules,
    *,
    unverified_challenge_id: str,
    unverified_token: object,
    browser_binding: bytes,
    at: datetime,
) -> AuthenticatedCitizen:
    """Decide a login.

    1. Take the challenge: it is gone, whatever follows.
    2. Shape of the token (web-eid validation, steps 1 to 4).
    3. Purpose, policies, validity and path of the certificate (steps 5 to 9).
    4. Proof of possession over this origin and challenge (step 11).
    5. Certificate status (step 10), only now.
    6. The person, as the issuer's profile reads the subject.

    Args:
        rules: the site's.
        unverified_challenge_id: from the request.
        unverified_token: from the request, as JSON parsing gave it.
        browser_binding: SHA-256 of the browser session's secret, 32 bytes.
        at: now, aware UTC.

    Raises:
        LoginRefused: a subclass for each reason of this package.
        ocsp.errors.TrustError: a subclass for each reason of path and status.
    """
    challenge = take_challenge(
        rules.challenges,
        unverified_challenge_id,
        origin=rules.origin,
        browser_binding=browser_binding,
        at=at,
    )
    token = parse_token(unverified_token)
    chain = validate_path(token.unverified_certificate, rules.trust_store, at)
    proof = prove_possession(token, chain.read, challenge)
    trusted = _status_of_proved(chain, proof, source=rules.statuses, at=at)
    subject = chain.person
    return AuthenticatedCitizen(
        subject=subject,
        display_name=chain.display_name or subject,
        certificate_sha256=proof.certificate_sha256,
        token_sha256=token.token_sha256,
        algorithm=proof.algorithm,
        signature=token.signature,
        origin=challenge.origin,
        nonce=challenge.nonce,
        certificates=tuple(member.der for member in chain.path),
        profile=chain.profile,
        evidence=trusted.evidence,
        authenticated_at=at,
        seal=_SEAL,
    )


def _status_of_proved(
    chain: ValidatedChain, proof: ProofOfPossession, *, source: StatusSource, at: datetime
) -> TrustedCertificate:
    """Ask for the status of a certificate whose key was proved; for no other."""
    if proof.certificate_sha256 != sha256(chain.read.der).digest():
        msg = "the proof is of another certificate"
        raise ValueError(msg)
    return establish_trust(chain, source=source, at=at)
