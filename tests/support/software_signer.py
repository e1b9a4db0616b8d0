"""A `SigningBackend` with keys in memory, for tests of what is signed rather than by what."""

import threading
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from signer.backend import Signature, verified_signature
from signer.errors import NoKeyForPurpose
from signer.payload import Payload, Purpose
from signer.permit import SigningPermit, spend_permit
from signer.verify import PublicKey

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class SoftwareBackend:
    def __init__(self, keys: dict[Purpose, PrivateKey]) -> None:
        self.keys = keys
        self.signed: list[tuple[Payload, str, datetime]] = []
        self._lock = threading.Lock()

    def public_key(self, purpose: Purpose) -> PublicKey:
        if purpose not in self.keys:
            raise NoKeyForPurpose(purpose)
        return self.keys[purpose].public_key()

    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        key = self.keys[payload.purpose]
        spend_permit(permit, payload, at=at)
        with self._lock:
            self.signed.append((payload, permit.owner, at))
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return verified_signature(key.public_key(), payload, key.sign(payload.message))
        r, s = decode_dss_signature(key.sign(payload.message, ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return verified_signature(key.public_key(), payload, raw)


def log_signer() -> SoftwareBackend:
    return SoftwareBackend(
        {
            Purpose.RECEIPT_LOG: ec.generate_private_key(ec.SECP256R1()),
            Purpose.RECEIPT_LOG_ED25519: ed25519.Ed25519PrivateKey.generate(),
        }
    )
