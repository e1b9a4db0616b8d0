"""A software signer, a challenge store in memory and a card in software, for login tests."""

import base64
import threading
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from signer.backend import Signature, verified_signature
from signer.login.challenge import IssuedChallenge, StockedNonce, StockPolicy
from signer.login.token import signed_message
from signer.payload import Payload, Purpose
from tests.support.certificates import PrivateKey, private_key

ORIGIN = "https://login.example"
POLICY = StockPolicy(
    target=4, challenge_life=timedelta(minutes=5), shelf_life=timedelta(minutes=10)
)
BROWSER = b"\x11" * 32

_ES = {"256": 32, "384": 48, "512": 66}
_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}


class SoftwareSigner:
    """Signs challenge payloads with a P-256 key in software."""

    def __init__(self) -> None:
        key = private_key("login-challenge")
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key
        self.owners: list[str] = []

    def public_key(self, purpose: Purpose) -> ec.EllipticCurvePublicKey:
        assert purpose is Purpose.LOGIN_CHALLENGE
        return self.key.public_key()

    def sign(self, payload: Payload, *, owner: str, at: datetime) -> Signature:
        self.owners.append(owner)
        r, s = decode_dss_signature(self.key.sign(payload.message, ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return verified_signature(self.key.public_key(), payload, raw)


class MemoryChallenges:
    """A challenge store in memory, with the rules of the real one."""

    def __init__(self) -> None:
        self.stock: list[StockedNonce] = []
        self.issued: dict[str, IssuedChallenge] = {}
        self._lock = threading.Lock()

    def add_stock(self, nonces: list[StockedNonce]) -> None:
        with self._lock:
            self.stock.extend(nonces)

    def count_stock(self, origin: str, *, usable_until: datetime) -> int:
        return sum(n.origin == origin and n.expires_at >= usable_until for n in self.stock)

    def draw(self, origin: str, *, usable_until: datetime) -> StockedNonce | None:
        with self._lock:
            for nonce in self.stock:
                if nonce.origin == origin and nonce.expires_at >= usable_until:
                    self.stock.remove(nonce)
                    return nonce
        return None

    def issue(self, challenge: IssuedChallenge) -> None:
        with self._lock:
            self.issued[challenge.challenge_id] = challenge

    def take(self, challenge_id: str) -> IssuedChallenge | None:
        with self._lock:
            return self.issued.pop(challenge_id, None)

    def purge(self, *, expired_before: datetime) -> int:
        with self._lock:
            over = [key for key, c in self.issued.items() if c.expires_at < expired_before]
            for key in over:
                del self.issued[key]
        return len(over)


def card_signature(key: PrivateKey, algorithm: str, origin: str, nonce: str) -> bytes:
    """What a card answers: raw r || s, or an RSA signature."""
    message = signed_message(algorithm, origin, nonce)
    size = algorithm[2:]
    chosen = _HASHES[size]()
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm.startswith("PS"):
            pss = padding.PSS(padding.MGF1(chosen), chosen.digest_size)
            return key.sign(message, pss, chosen)
        return key.sign(message, padding.PKCS1v15(), chosen)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(chosen)))
    width = _ES[size]
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def web_eid_token(
    certificate_der: bytes, algorithm: str, signature: bytes, /, **changes: object
) -> dict[str, object]:
    """A web-eid:1.0 token; `changes` replaces members, None removes one."""
    token: dict[str, object] = {
        "unverifiedCertificate": base64.b64encode(certificate_der).decode(),
        "algorithm": algorithm,
        "signature": base64.b64encode(signature).decode(),
        "format": "web-eid:1.0",
        "appVersion": "https://web-eid.eu/web-eid-app/releases/2.8.0",
        **changes,
    }
    return {member: value for member, value in token.items() if value is not None}
