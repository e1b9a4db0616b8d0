"""The signer: permit, spend, key, verification, in this order and no other."""

from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Never, Protocol

from signer.errors import OwnSignatureInvalid, SignatureInvalid
from signer.payload import Payload, Purpose
from signer.permit import SigningPermit
from signer.verify import PublicKey, raw_to_der, verify_raw

# A permit is spent in the call that asks for it; whoever stood still for longer signs no more.
PERMIT_LIFE = timedelta(minutes=1)

_SEAL = object()


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was verified before it left the backend; made by `verified_signature`.

    Attributes:
        purpose: names the key.
        raw: 64 bytes: P-256 r || s, or Ed25519; of an RSA key as long as its modulus.
    """

    purpose: Purpose
    raw: bytes = field(repr=False)
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "a Signature is made by verified_signature() alone"
            raise TypeError(msg)

    def __reduce__(self) -> Never:
        msg = "a Signature cannot be pickled"
        raise TypeError(msg)

    def der(self) -> bytes:
        """DER Ecdsa-Sig-Value of a P-256 signature."""
        return raw_to_der(self.raw)


def verified_signature(public_key: PublicKey, payload: Payload, unverified_raw: bytes) -> Signature:
    """A token's answer as a signature, once it was verified.

    Raises:
        OwnSignatureInvalid: it does not verify; it must not leave.
    """
    try:
        verify_raw(public_key, payload.message, unverified_raw)
    except SignatureInvalid as error:
        raise OwnSignatureInvalid(f"the token's signature by {payload.purpose}") from error
    return Signature(payload.purpose, unverified_raw, _SEAL)


class SigningBackend(Protocol):
    """Holds keys and signs what a permit allows."""

    def public_key(self, purpose: Purpose) -> PublicKey:
        """The public key of a purpose.

        Raises:
            NoKeyForPurpose: this backend holds none.
        """

    def sign(self, permit: SigningPermit, payload: Payload, *, at: datetime) -> Signature:
        """Spend the permit, sign, verify the signature, return it."""


class PayloadSigner(Protocol):
    """What the rest of the project asks for when it needs a signature."""

    def public_key(self, purpose: Purpose) -> PublicKey:
        """The public key of a purpose."""

    def sign(self, payload: Payload, *, owner: str, at: datetime) -> Signature:
        """Sign one payload for an owner."""
