"""`login-verify`: the login decision in process, against the raw verifications it must do.

The card's certificate is new each time as far as the path is concerned; its OCSP
answer is signed beforehand and judged in full. The reference is the sum of the raw
signature verifications: certificate, possession, delegate certificate, answer.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp as x509_ocsp

from bench.rows import Row, seconds_each
from ocsp.chain import validate_path
from ocsp.client import OcspClient
from ocsp.config import NonceMode
from ocsp.trust import TrustedCertificate, establish_trust
from signer.login.challenge import (
    SpentChallenge,
    issue_challenge,
    refill_stock,
    take_challenge,
)
from signer.login.token import parse_token, prove_possession, signed_message
from tests.support.certificates import NOW, KeyKind, Pki, development_like_pki
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
from tests.support.trust import CannedPoster, trust_store

NAME = "login-verify"
MAX_MILLISECONDS = 0.5
MAX_RATIO = 5.0


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
    store = trust_store(pki, nonce=NonceMode.OFF)
    spent = _spent()
    signature = card_signature(pki.leaf.key, algorithm, ORIGIN, spent.nonce)
    unverified_token = web_eid_token(pki.leaf.der, algorithm, signature)

    @cache
    def signed_before(request: bytes) -> bytes:
        """Nonces are off, so that each request is the same and has one answer."""
        return answer(standard_spec(pki, request))

    source = OcspClient(CannedPoster(signed_before))

    def login() -> TrustedCertificate:
        token = parse_token(unverified_token)
        chain = validate_path(token.unverified_certificate, store, NOW)
        prove_possession(token, chain.read, spent)
        return establish_trust(chain, source=source, at=NOW)

    trusted = login()
    raw = _raw_verifications(pki, algorithm, spent, trusted.evidence.response_der)

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
