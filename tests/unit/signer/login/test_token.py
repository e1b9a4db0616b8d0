"""The token's shape and its signature; every malformed member has a typed refusal."""

import json
import pickle
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from ocsp.certificate import read_certificate
from signer.errors import (
    LoginRefused,
    TokenAlgorithmUnsupported,
    TokenFormatUnsupported,
    TokenMalformed,
    TokenSignatureInvalid,
)
from signer.login.challenge import SpentChallenge, issue_challenge, refill_stock, take_challenge
from signer.login.token import (
    ALGORITHMS,
    ProofOfPossession,
    parse_token,
    prove_possession,
    signed_message,
)
from tests.support.certificates import NOW, Issued, development_like_pki
from tests.support.login import (
    BROWSER,
    ORIGIN,
    POLICY,
    MemoryChallenges,
    SoftwareSigner,
    card_signature,
    web_eid_token,
)

LEAF = development_like_pki().leaf
RSA_LEAF = development_like_pki("rsa2048").leaf


def spent_challenge() -> SpentChallenge:
    store = MemoryChallenges()
    refill_stock(store, SoftwareSigner(), origin=ORIGIN, policy=POLICY, at=NOW)
    issued = issue_challenge(store, origin=ORIGIN, browser_binding=BROWSER, policy=POLICY, at=NOW)
    return take_challenge(
        store,
        issued.challenge_id,
        origin=ORIGIN,
        browser_binding=BROWSER,
        at=NOW + timedelta(seconds=1),
    )


CHALLENGE = spent_challenge()
SIGNATURE = card_signature(LEAF.key, "ES256", ORIGIN, CHALLENGE.nonce)


def prove(token: dict[str, object], card: Issued) -> ProofOfPossession:
    return prove_possession(parse_token(token), read_certificate(card.der), CHALLENGE)


@pytest.mark.parametrize(
    "not_a_token", [None, [], "token", 7, {}, {"format": "web-eid:1.0"}, {"x": "y" * 10_001}]
)
def test_what_is_no_token_is_refused(not_a_token: object) -> None:
    with pytest.raises(TokenMalformed):
        parse_token(not_a_token)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"format": "web-eid:1"}, TokenFormatUnsupported),
        ({"format": "web-eid:10"}, TokenFormatUnsupported),
        ({"format": "web-eid:1.0.0"}, TokenFormatUnsupported),
        ({"format": "web-eid:1.1"}, TokenFormatUnsupported),
        ({"format": "WEB-EID:1.0"}, TokenFormatUnsupported),
        ({"format": None}, TokenMalformed),
        ({"format": ["web-eid:1.0"]}, TokenMalformed),
        ({"unverifiedCertificate": None}, TokenMalformed),
        ({"unverifiedCertificate": ""}, TokenMalformed),
        ({"unverifiedCertificate": "===="}, TokenMalformed),
        ({"unverifiedCertificate": "AAAA BBBB"}, TokenMalformed),
        ({"unverifiedCertificate": "A_-A"}, TokenMalformed),
        ({"unverifiedCertificate": "гэрчилгээ"}, TokenMalformed),
        ({"unverifiedCertificate": ["AAAA"]}, TokenMalformed),
        ({"algorithm": None}, TokenMalformed),
        ({"algorithm": ""}, TokenMalformed),
        ({"algorithm": ["ES256"]}, TokenMalformed),
        ({"algorithm": "none"}, TokenAlgorithmUnsupported),
        ({"algorithm": "HS256"}, TokenAlgorithmUnsupported),
        ({"algorithm": "es256"}, TokenAlgorithmUnsupported),
        ({"algorithm": "ES256K"}, TokenAlgorithmUnsupported),
        ({"signature": None}, TokenMalformed),
        ({"signature": ""}, TokenMalformed),
        ({"signature": "not base64!"}, TokenMalformed),
        ({"signature": {"r": 1}}, TokenMalformed),
        ({"unverifiedIntermediateCertificates": []}, TokenMalformed),
        ({"unverifiedSigningCertificates": []}, TokenMalformed),
    ],
)
def test_one_member_changed_is_refused(
    changes: dict[str, object], refusal: type[LoginRefused]
) -> None:
    with pytest.raises(refusal):
        parse_token(web_eid_token(LEAF.der, "ES256", SIGNATURE, **changes))


def test_the_length_limits_are_exact() -> None:
    token = web_eid_token(LEAF.der, "ES256", SIGNATURE, filler="")
    room = 10_000 - len(json.dumps(token, separators=(",", ":")))
    parse_token(web_eid_token(LEAF.der, "ES256", SIGNATURE, filler="x" * room))
    with pytest.raises(TokenMalformed):
        parse_token(web_eid_token(LEAF.der, "ES256", SIGNATURE, filler="x" * (room + 1)))


@given(
    st.dictionaries(
        st.sampled_from(["format", "algorithm", "signature", "unverifiedCertificate", "x"]),
        st.none() | st.text() | st.integers() | st.lists(st.text()) | st.just("web-eid:1.0"),
    )
)
def test_any_object_is_refused_by_a_class_of_ours(unverified: dict[str, object]) -> None:
    with pytest.raises(LoginRefused):
        parse_token({**web_eid_token(LEAF.der, "ES256", b"\0"), "signature": "?", **unverified})


def test_unknown_members_are_ignored() -> None:
    action = "web-eid:authenticate-success"
    token = parse_token(web_eid_token(LEAF.der, "ES256", SIGNATURE, action=action))
    assert token.signature == SIGNATURE


def test_a_der_signature_is_refused() -> None:
    der = encode_dss_signature(
        int.from_bytes(SIGNATURE[:32], "big"), int.from_bytes(SIGNATURE[32:], "big")
    )
    with pytest.raises(TokenSignatureInvalid, match="64 bytes"):
        prove(web_eid_token(LEAF.der, "ES256", der), LEAF)


@pytest.mark.parametrize("bit", range(0, 512, 31))
def test_a_flipped_bit_is_refused(bit: int) -> None:
    changed = bytearray(SIGNATURE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(TokenSignatureInvalid):
        prove(web_eid_token(LEAF.der, "ES256", bytes(changed)), LEAF)


def test_zero_is_no_signature() -> None:
    with pytest.raises(TokenSignatureInvalid):
        prove(web_eid_token(LEAF.der, "ES256", bytes(64)), LEAF)


@pytest.mark.parametrize(
    ("origin", "nonce"),
    [
        ("https://evil.example", CHALLENGE.nonce),
        (ORIGIN + "/", CHALLENGE.nonce),
        (ORIGIN, CHALLENGE.nonce[:-1] + "A"),
        (ORIGIN, spent_challenge().nonce),
    ],
)
def test_a_signature_over_another_origin_or_challenge_is_refused(origin: str, nonce: str) -> None:
    signature = card_signature(LEAF.key, "ES256", origin, nonce)
    with pytest.raises(TokenSignatureInvalid):
        prove(web_eid_token(LEAF.der, "ES256", signature), LEAF)


def test_another_keys_signature_is_refused() -> None:
    other = development_like_pki().delegate
    signature = card_signature(other.key, "ES256", ORIGIN, CHALLENGE.nonce)
    with pytest.raises(TokenSignatureInvalid):
        prove(web_eid_token(LEAF.der, "ES256", signature), LEAF)


@pytest.mark.parametrize("algorithm", ["ES384", "ES512", "RS256", "PS256"])
def test_an_algorithm_that_does_not_fit_the_key_is_refused(algorithm: str) -> None:
    with pytest.raises(TokenAlgorithmUnsupported):
        prove(web_eid_token(LEAF.der, algorithm, SIGNATURE), LEAF)


def test_pkcs1_is_not_taken_for_pss() -> None:
    signature = card_signature(RSA_LEAF.key, "RS256", ORIGIN, CHALLENGE.nonce)
    with pytest.raises(TokenSignatureInvalid):
        prove(web_eid_token(RSA_LEAF.der, "PS256", signature), RSA_LEAF)


@pytest.mark.parametrize("algorithm", [*sorted(a for a in ALGORITHMS if a[0] in "RP"), "ES256"])
def test_good_signatures_are_accepted(algorithm: str) -> None:
    leaf = LEAF if algorithm == "ES256" else RSA_LEAF
    signature = card_signature(leaf.key, algorithm, ORIGIN, CHALLENGE.nonce)
    proof = prove(web_eid_token(leaf.der, algorithm, signature), leaf)
    assert proof.algorithm == algorithm


def test_p384_signs_es384() -> None:
    leaf = development_like_pki("p384").leaf
    signature = card_signature(leaf.key, "ES384", ORIGIN, CHALLENGE.nonce)
    assert len(signature) == 96
    proof = prove(web_eid_token(leaf.der, "ES384", signature), leaf)
    assert proof.algorithm == "ES384"


def test_the_nonce_is_hashed_as_text() -> None:
    assert len(signed_message("ES512", ORIGIN, CHALLENGE.nonce)) == 128
    assert signed_message("RS256", "a", "b")[:4].hex() == "ca978112"  # SHA-256("a")


def test_a_proof_is_made_nowhere_else() -> None:
    proof = prove(web_eid_token(LEAF.der, "ES256", SIGNATURE), LEAF)
    with pytest.raises(TypeError):
        ProofOfPossession(proof.certificate_sha256, "ES256")
    with pytest.raises(TypeError):
        pickle.dumps(proof)
