"""The whole login decision: its order, its refusals, and what a citizen carries out of it."""

import pickle
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from ocsp.certificate import read_certificate
from ocsp.chain import validate_path
from ocsp.errors import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotTrusted,
    CertificatePersonMissing,
    CertificatePurposeWrong,
    CertificateRevoked,
    CertificateStatusUnavailable,
    CertificateStatusUnknown,
    CertificateSuspended,
    TransportFailed,
)
from signer.errors import (
    ChallengeNotFound,
    TokenMalformed,
    TokenSignatureInvalid,
)
from signer.login.authenticate import (
    AuthenticatedCitizen,
    LoginRules,
    _status_of_proved,
    authenticate,
)
from signer.login.challenge import (
    IssuedChallenge,
    issue_challenge,
    refill_stock,
    take_challenge,
)
from signer.login.token import parse_token, prove_possession
from tests.support.certificates import (
    NOW,
    Issued,
    development_like_pki,
    distinguished_name,
)
from tests.support.login import (
    BROWSER,
    ORIGIN,
    POLICY,
    MemoryChallenges,
    SoftwareSigner,
    card_signature,
    web_eid_token,
)
from tests.support.ocsp_answers import SingleSpec, answer, standard_spec
from tests.support.trust import CannedPoster, client, trust_store

PKI = development_like_pki()


class Site:
    """A site with stock, and a citizen's browser in front of it."""

    def __init__(self, single: SingleSpec | TransportFailed | None = None) -> None:
        def reply(request: bytes) -> bytes | TransportFailed:
            if isinstance(single, TransportFailed):
                return single
            spec = standard_spec(PKI, request)
            return answer(replace(spec, singles=(single or SingleSpec(),)))

        self.responder = CannedPoster(reply)
        self.store = MemoryChallenges()
        refill_stock(self.store, SoftwareSigner(), origin=ORIGIN, policy=POLICY, at=NOW)
        self.rules = LoginRules(ORIGIN, self.store, trust_store(PKI), client(self.responder))

    @property
    def queries(self) -> int:
        """How often a responder was asked."""
        return len(self.responder.posted)

    def challenge(self) -> IssuedChallenge:
        return issue_challenge(
            self.store, origin=ORIGIN, browser_binding=BROWSER, policy=POLICY, at=NOW
        )

    def login(
        self, leaf: Issued, challenge: IssuedChallenge | None = None, **changes: object
    ) -> AuthenticatedCitizen:
        challenge = challenge or self.challenge()
        signature = card_signature(leaf.key, "ES256", ORIGIN, challenge.nonce)
        return authenticate(
            self.rules,
            unverified_challenge_id=challenge.challenge_id,
            unverified_token=web_eid_token(leaf.der, "ES256", signature, **changes),
            browser_binding=BROWSER,
            at=NOW + timedelta(seconds=1),
        )


def test_a_refused_token_uses_the_challenge_up_and_asks_no_responder() -> None:
    site = Site()
    challenge = site.challenge()
    with pytest.raises(TokenMalformed):
        site.login(PKI.leaf, challenge, signature=None)
    with pytest.raises(ChallengeNotFound):
        site.login(PKI.leaf, challenge)
    assert site.queries == 0


def test_without_the_key_nobody_makes_us_ask_a_responder() -> None:
    site = Site()
    thief = replace(PKI.leaf, key=PKI.delegate.key)
    with pytest.raises(TokenSignatureInvalid):
        site.login(thief)
    assert site.queries == 0


@pytest.mark.parametrize(
    ("leaf", "refusal"),
    [
        (PKI.leaf_with(not_after=NOW - timedelta(seconds=1)), CertificateExpired),
        (
            PKI.leaf_with(extended_key_usage=(ExtendedKeyUsageOID.SERVER_AUTH,)),
            CertificatePurposeWrong,
        ),
        (PKI.leaf_with(issuer=PKI.delegate), CertificateNotTrusted),
    ],
)
def test_a_bad_certificate_is_refused_before_its_signature(
    leaf: Issued, refusal: type[Exception]
) -> None:
    site = Site()
    with pytest.raises(refusal):
        site.login(leaf)
    assert site.queries == 0


def test_bytes_that_are_no_certificate_are_refused() -> None:
    with pytest.raises(CertificateMalformed):
        Site().login(PKI.leaf, unverifiedCertificate="A" * 200)


@pytest.mark.parametrize(
    ("single", "refusal"),
    [
        (SingleSpec(status="revoked", reason="key_compromise"), CertificateRevoked),
        (SingleSpec(status="revoked", reason="certificate_hold"), CertificateSuspended),
        (SingleSpec(status="unknown"), CertificateStatusUnknown),
        (SingleSpec(next_update=NOW - timedelta(hours=1)), CertificateStatusUnavailable),
    ],
)
def test_a_status_that_is_not_good_is_refused(single: SingleSpec, refusal: type[Exception]) -> None:
    site = Site(single)
    with pytest.raises(refusal):
        site.login(PKI.leaf)
    assert site.queries == 1


def test_a_responder_that_is_down_refuses_the_login() -> None:
    with pytest.raises(CertificateStatusUnavailable):
        Site(TransportFailed("no route")).login(PKI.leaf)


@pytest.mark.parametrize("serial_number", [None, "PNOEE-123456789012", "PNOMN-1"])
def test_a_certificate_that_names_nobody_is_refused(serial_number: str | None) -> None:
    leaf = PKI.leaf_with(subject=distinguished_name("Bat Bold p256", serial_number))
    with pytest.raises(CertificatePersonMissing):
        Site().login(leaf)


def test_a_good_login_keeps_its_evidence() -> None:
    site = Site()
    challenge = site.challenge()
    citizen = site.login(PKI.leaf, challenge)
    assert citizen.subject == "PNOMN-123456789012"
    assert (citizen.origin, citizen.nonce) == (ORIGIN, challenge.nonce)
    assert len(citizen.signature) == 64
    assert citizen.display_name == "Bat Bold p256"
    assert citizen.certificates[0] == PKI.leaf.der
    assert citizen.certificates[-1] == PKI.root.der
    assert citizen.evidence.nonce_matched
    assert citizen.authenticated_at == NOW + timedelta(seconds=1)
    assert "PNOMN" not in repr(citizen)


def test_an_authenticated_citizen_is_made_nowhere_else() -> None:
    citizen = Site().login(PKI.leaf)
    with pytest.raises((TypeError, ValueError)):
        replace(citizen, subject="PNOMN-000000000000")
    with pytest.raises(TypeError):
        pickle.dumps(citizen)


def test_a_proof_does_not_pass_for_another_certificate() -> None:
    site = Site()
    challenge = site.challenge()
    spent = take_challenge(
        site.store, challenge.challenge_id, origin=ORIGIN, browser_binding=BROWSER, at=NOW
    )
    signature = card_signature(PKI.leaf.key, "ES256", ORIGIN, challenge.nonce)
    token = parse_token(web_eid_token(PKI.leaf.der, "ES256", signature))
    proof = prove_possession(token, read_certificate(PKI.leaf.der), spent)
    other = PKI.leaf_with(serial=77)
    chain = validate_path(other.der, site.rules.trust_store, NOW)
    with pytest.raises(ValueError, match="another certificate"):
        _status_of_proved(chain, proof, source=client(site.responder), at=NOW)
    assert site.queries == 0
