"""The Web eID authentication token, format web-eid:1.0, and what the card signs for it."""

import base64
import hashlib
from typing import Literal, TypedDict

JoseAlgorithm = Literal["ES256", "RS256"]
"""What the agent's cards sign with: P-256 and RSA PKCS#1 v1.5, both with SHA-256."""

FORMAT = "web-eid:1.0"
# Pages and extensions refuse an app whose major version is below theirs, which is 2.
APP_VERSION = "https://web-eid.eu/web-eid-app/releases/2.0.0+tamga"


class AuthenticationToken(TypedDict):
    """The five members, as they go to the page."""

    unverifiedCertificate: str
    algorithm: JoseAlgorithm
    signature: str
    format: str
    appVersion: str


def signed_message(origin: str, nonce: str) -> bytes:
    """M = H(origin) || H(nonce) with SHA-256; the nonce is hashed as its base64 text.

    The card signs H(M), 32 bytes for both algorithms.
    """
    return b"".join(hashlib.sha256(text.encode("utf-8")).digest() for text in (origin, nonce))


def build_token(
    certificate_der: bytes, algorithm: JoseAlgorithm, signature: bytes
) -> AuthenticationToken:
    """The token for a signature: ES256 raw r || s of 64 bytes, RS256 as long as the modulus."""
    return {
        "unverifiedCertificate": base64.b64encode(certificate_der).decode("ascii"),
        "algorithm": algorithm,
        "signature": base64.b64encode(signature).decode("ascii"),
        "format": FORMAT,
        "appVersion": APP_VERSION,
    }
