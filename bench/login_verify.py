"""`login-verify`: the login decision in process, against the raw verifications it must do.

The card's certificate is new each time as far as the path is concerned; its OCSP
answer is signed beforehand and judged in full. The reference is the sum of the raw
signature verifications: certificate, possession, delegate certificate, answer.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp as x509_ocsp

from bench.rows import Row, seconds_each
from ocsp.chain import validate_path
from ocsp.config import IssuerProfile, NonceMode, PersonAttribute, TrustStore
from ocsp.transport import HttpAnswer
from ocsp.trust import establish_trust
from signer.login.challenge import (
    SpentChallenge,
    issue_challenge,
    refill_stock,
    take_challenge,
)
from signer.login.token import parse_token, prove_possession, signed_message
from tests.support.certificates import CITIZEN_POLICY, NOW, KeyKind, Pki, development_like_pki
from tests.support.login import (
    BROWSER,
    ORIGIN,
    POLICY,
    MemoryChallenges,
    SoftwareSigner,
    card_signature,
    web_eid_token,
)
from tests.support.ocsp_answers import answer, standard_spec

NAME = "login-verify"
MAX_MILLISECONDS = 0.5
MAX_RATIO = 5.0


@dataclass
class _Cached:
    """Gives the answer to the first question again: nonces are off in this measurement."""

    pki: Pki
    der: bytes = b""

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
        del purpose, url, content_type, max_bytes, timeout
        self.der = self.der or answer(standard_spec(self.pki, body))
        return HttpAnswer(200, accept, self.der)


def _spent() -> SpentChallenge:
    store = MemoryChallenges()
    refill_stock(store, SoftwareSigner(), origin=ORIGIN, policy=POLICY, at=NOW)
    issued = issue_challenge(store, origin=ORIGIN, browser_binding=BROWSER, policy=POLICY, at=NOW)
    return take_challenge(
        store, issued.challenge_id, origin=ORIGIN, browser_binding=BROWSER, at=NOW
    )


def _verification(key: object, signature: bytes, message: bytes) -> Callable[[], object]:
    if isinstance(key, rsa.RSAPublicKey):
        return lambda: key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError(type(key))
    return lambda: key.verify(signature, message, ec.ECDSA(hashes.SHA256()))


def _row(kind: KeyKind, algorithm: str) -> Row:
    pki = development_like_pki(kind)
    profile = IssuerProfile(
        name="citizen-ca",
        certificates=(pki.citizen_ca.der,),
        responder_url="http://ocsp.example/citizen",
        required_policies=frozenset({CITIZEN_POLICY}),
        person_attribute=PersonAttribute("2.5.4.5", "PNOMN-[0-9]{12}"),
        nonce=NonceMode.OFF,
    )
    store = TrustStore((pki.root.der,), (pki.national_ca.der,), (profile,))
    spent = _spent()
    signature = card_signature(pki.leaf.key, algorithm, ORIGIN, spent.nonce)
    unverified_token = web_eid_token(pki.leaf.der, algorithm, signature)
    egress = _Cached(pki)

    def login() -> object:
        token = parse_token(unverified_token)
        chain = validate_path(token.unverified_certificate, store, NOW)
        prove_possession(token, chain.leaf, spent)
        return establish_trust(chain, egress=egress, at=NOW)

    login()
    raw = _raw_verifications(pki, algorithm, spent, egress.der)

    def reference() -> None:
        for verification in raw:
            verification()

    value, least = seconds_each(login, reference)
    milliseconds, ratio = value * 1000, value / least
    return Row(
        name=f"{NAME}-{kind}",
        value=round(milliseconds, 3),
        unit="ms",
        reference=round(least * 1000, 3),
        ratio=round(ratio, 2),
        target=f"<= {MAX_MILLISECONDS} ms and <= {MAX_RATIO} x the raw verifications",
        ok=milliseconds <= MAX_MILLISECONDS and ratio <= MAX_RATIO,
    )


def _raw_verifications(
    pki: Pki, algorithm: str, spent: SpentChallenge, answer_der: bytes
) -> list[Callable[[], object]]:
    parsed = x509_ocsp.load_der_ocsp_response(answer_der)
    key = pki.leaf.key
    message = signed_message(algorithm, ORIGIN, spent.nonce)
    possession = (
        key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(key, rsa.RSAPrivateKey)
        else key.sign(message, ec.ECDSA(hashes.SHA256()))
    )

    def issued_by_ca(certificate: x509.Certificate) -> Callable[[], object]:
        return _verification(
            pki.citizen_ca.certificate.public_key(),
            certificate.signature,
            certificate.tbs_certificate_bytes,
        )

    return [
        issued_by_ca(pki.leaf.certificate),
        _verification(key.public_key(), possession, message),
        issued_by_ca(pki.delegate.certificate),
        _verification(
            pki.delegate.certificate.public_key(), parsed.signature, parsed.tbs_response_bytes
        ),
    ]


def rows() -> list[Row]:
    """The slower of the two kinds of card, and each by itself."""
    by_kind = [_row("rsa2048", "RS256"), _row("p256", "ES256")]
    worst = max(by_kind, key=lambda row: row.value)
    return [replace(worst, name=NAME), *by_kind]
