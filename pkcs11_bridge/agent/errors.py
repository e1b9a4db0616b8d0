"""Why the citizen's agent refuses; the token's own troubles are in pkcs11_bridge.errors."""

from datetime import datetime
from enum import StrEnum


class AgentError(Exception):
    """Root of what the agent itself refuses."""


class ProofError(AgentError):
    """The challenge does not prove that it comes from the real service."""


class ProofMissing(ProofError):
    """The nonce carries no proof: it is not 96 bytes in 128 base64 characters."""


class ForeignReason(StrEnum):
    """Why a proof belongs to somebody else."""

    UNKNOWN_KEY = "unknown-key"
    BAD_SIGNATURE = "bad-signature"


class ProofForeign(ProofError):
    """The proof was not made by this origin's pinned key for this origin."""

    def __init__(self, reason: ForeignReason) -> None:
        super().__init__(f"the challenge proof is foreign: {reason}")
        self.reason = reason


class ProofStale(ProofError):
    """The proof is genuine and its time is over."""

    def __init__(self, expired_at: datetime, at: datetime) -> None:
        super().__init__(f"the challenge proof expired at {expired_at:%Y-%m-%dT%H:%M:%SZ}")
        self.expired_at = expired_at
        self.at = at


class ProofTooLongLived(ProofError):
    """The proof is genuine and claims a life that no fresh challenge has."""

    def __init__(self, expires_at: datetime) -> None:
        super().__init__(f"the challenge proof claims to live until {expires_at:%Y-%m-%dT%H:%MZ}")
        self.expires_at = expires_at


class OriginInvalid(AgentError):
    """The text is not a web origin ``https://host[:port]`` of at most 255 ASCII characters."""


class OriginNotConfirmed(AgentError):
    """No pinned key speaks for this origin, so nobody can say whether it is the real service."""

    def __init__(self, origin: str) -> None:
        super().__init__(f"the origin {origin} is not confirmed")
        self.origin = origin


class OriginsFileInvalid(AgentError):
    """The file of pinned origins cannot be relied on."""


class CertificateNotSuitable(AgentError):
    """The card holds no certificate with which a person may authenticate."""


class SigningCertificateOnly(CertificateNotSuitable):
    """The card holds certificates to sign documents with, and none to authenticate with."""


class CertificateExpired(CertificateNotSuitable):
    """The card's authentication certificate has ended, by this computer's clock."""

    def __init__(self, ended_at: datetime) -> None:
        super().__init__(f"the card's certificate ended on {ended_at:%Y-%m-%d}")
        self.ended_at = ended_at


class CertificateNotYetValid(CertificateNotSuitable):
    """The card's authentication certificate has not begun yet, by this computer's clock."""

    def __init__(self, begins_at: datetime) -> None:
        super().__init__(f"the card's certificate begins on {begins_at:%Y-%m-%d}")
        self.begins_at = begins_at


class CertificateAmbiguous(AgentError):
    """The card holds several authentication certificates and nobody chose."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} authentication certificates match; exactly one must")
        self.count = count


class FinalTryRefused(AgentError):
    """One PIN try is left, and the person did not say that it may be spent."""


class CardSignatureInvalid(AgentError):
    """The card's signature does not verify with the card's own certificate."""


class RequestInvalid(AgentError):
    """What the page asks for is not a request that the agent understands."""
