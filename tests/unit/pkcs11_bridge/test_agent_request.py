"""What a page asks, and the token it gets."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge.agent.errors import RequestInvalid
from pkcs11_bridge.agent.request import AuthenticateRequest
from pkcs11_bridge.agent.token import build_token, signed_message

GOOD = {"challengeNonce": "n", "origin": "o"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 8000,
        json.dumps({"origin": "o"}),
        json.dumps({**GOOD, "extra": "x"}),
        json.dumps({**GOOD, "challengeNonce": 1}),
        json.dumps({**GOOD, "lang": None}),
        '{"challengeNonce": "n", "origin": "o", "origin": "p"}',
        json.dumps({**GOOD, "lang": "x" * 8192}),
        "\udcff",
    ],
)
def test_requests_of_another_form(text: str) -> None:
    with pytest.raises(RequestInvalid):
        AuthenticateRequest.parse(text)


def test_request() -> None:
    request = AuthenticateRequest.parse(json.dumps({**GOOD, "lang": "mn"}))
    assert (request.unverified_nonce, request.unverified_origin) == ("n", "o")
    assert request.language == "mn"
    assert AuthenticateRequest.parse(json.dumps(GOOD)).language is None


@given(st.text(max_size=100))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with pytest.raises(RequestInvalid):
        AuthenticateRequest.parse(text)


def test_the_message_is_the_two_hashes() -> None:
    message = hashlib.sha256(b"https://a.mn").digest() + hashlib.sha256(b"bm9uY2U=").digest()
    assert signed_message("https://a.mn", "bm9uY2U=") == message


def test_the_token_has_the_five_members() -> None:
    token = build_token(b"certificate", "ES256", bytes(64))
    assert token == {
        "unverifiedCertificate": base64.b64encode(b"certificate").decode(),
        "algorithm": "ES256",
        "signature": base64.b64encode(bytes(64)).decode(),
        "format": "web-eid:1.0",
        "appVersion": "https://web-eid.eu/web-eid-app/releases/2.0.0+tamga",
    }
