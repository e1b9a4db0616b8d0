"""The one file in which a permit meets a private key of the HSM."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pkcs11_bridge.keyring import KeyAlgorithm, TokenKey
from signer.backend import Signature, verified_signature
from signer.errors import NoKeyForPurpose
from signer.payload import Payload, Purpose
from signer.permit import SigningPermit, spend_permit
from signer.verify import PublicKey

_SERVICE_ALGORITHMS = frozenset({KeyAlgorithm.EC_P256, KeyAlgorithm.ED25519})


@dataclass(frozen=True, slots=True)
class HsmBackend:
    """Signs with keys that never leave their token.

    Attributes:
        keys: the token key of each purpose that this process may serve.
    """

    keys: Mapping[Purpose, TokenKey]

    def __post_init__(self) -> None:
        for purpose, key in self.keys.items():
            if key.algorithm not in _SERVICE_ALGORITHMS:
                raise NoKeyForPurpose(f"the key {purpose} is neither P-256 nor Ed25519")

    def public_key(self, purpose: Purpose) -> PublicKey:
        """The public key of a purpose; raises NoKeyForPurpose."""
        public_key = self._key(purpose).public_key
        if not isinstance(public_key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            raise NoKeyForPurpose(f"the key {purpose} is neither P-256 nor Ed25519")
        return public_key

    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        """Sign what the permit allows.

        1. find the key of the payload's purpose;
        2. spend the permit: once, for this key, these bytes, in time;
        3. sign: ECDSA over the digest made here, or pure Ed25519 over the message;
        4. verify the token's answer before it leaves.

        Raises:
            NoKeyForPurpose, PermitError, OwnSignatureInvalid: as named.
            pkcs11_bridge.errors.TokenError: the token could not sign.
        """
        key = self._key(payload.purpose)
        public_key = self.public_key(payload.purpose)
        spend_permit(permit, payload, at=at)
        if key.algorithm is KeyAlgorithm.ED25519:
            raw = key.sign_message(payload.message)
        else:
            raw = key.sign_digest(payload.digest, "sha256")
        return verified_signature(public_key, payload, raw)

    def _key(self, purpose: Purpose) -> TokenKey:
        try:
            return self.keys[purpose]
        except KeyError:
            raise NoKeyForPurpose(f"this process holds no key for {purpose}") from None
