"""The one file in which a permit meets a private key of the HSM."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pkcs11_bridge.keyring import KeyAlgorithm, SigningKey
from signer.backend import Signature, verified_signature
from signer.errors import NoKeyForPurpose
from signer.payload import CRL_PURPOSES, OCSP_PURPOSES, Payload, Purpose
from signer.permit import SigningPermit, spend_permit
from signer.verify import PublicKey

_SERVICE_ALGORITHMS = frozenset({KeyAlgorithm.EC_P256, KeyAlgorithm.ED25519})
_RSA_PURPOSES = OCSP_PURPOSES | CRL_PURPOSES
"""What relying parties of an older PKI read may need RSA; nothing else does."""


def may_serve(algorithm: KeyAlgorithm, purpose: Purpose) -> bool:
    """Whether a key of this kind is one for the purpose."""
    return algorithm in _SERVICE_ALGORITHMS or (algorithm.is_rsa and purpose in _RSA_PURPOSES)


@dataclass(frozen=True, slots=True)
class HsmBackend:
    """Signs with keys that never leave their token.

    Attributes:
        keys: the key of each purpose that this process may serve, on one token or on several.
    """

    keys: Mapping[Purpose, SigningKey]

    def __post_init__(self) -> None:
        for purpose, key in self.keys.items():
            if not may_serve(key.algorithm, purpose):
                raise NoKeyForPurpose(f"the key {purpose} is of the kind {key.algorithm}")

    def public_key(self, purpose: Purpose) -> PublicKey:
        """The public key of a purpose; raises NoKeyForPurpose."""
        return self._key(purpose).public_key

    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        """Sign what the permit allows.

        1. find the key of the payload's purpose;
        2. spend the permit: once, for this key, these bytes, in time;
        3. sign: ECDSA or RSA over the digest made here, or pure Ed25519 over the message;
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

    def _key(self, purpose: Purpose) -> SigningKey:
        try:
            return self.keys[purpose]
        except KeyError:
            raise NoKeyForPurpose(f"this process holds no key for {purpose}") from None
