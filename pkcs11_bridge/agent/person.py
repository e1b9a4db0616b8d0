"""What the agent tells a person and asks of one; how, is for a terminal or a window to know."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pkcs11_bridge.agent.certificate_choice import AuthenticationCertificate
from pkcs11_bridge.pin import Pin
from pkcs11_bridge.readers import Missing


@dataclass(frozen=True, slots=True)
class PinQuestion:
    """What a person must see before the PIN is asked for."""

    origin: str
    confirmed: bool
    """A pinned key proved that the challenge comes from this origin's service."""
    holder: str
    tries_left: int | None
    """None: the card does not tell."""
    ends_at: datetime
    """When the certificate ends."""
    on_pin_pad: bool
    """The PIN is typed on the reader; no program sees it."""


class Person(Protocol):
    """Whom the agent works for."""

    def told_waiting(self, missing: Missing) -> None:
        """Reader or card are waited for; called again when something else is missing."""
        ...

    def choose(self, candidates: Sequence[AuthenticationCertificate]) -> AuthenticationCertificate:
        """One of several certificates; raises CertificateAmbiguous if nobody chooses."""
        ...

    def told(self, question: PinQuestion) -> None:
        """Everything that a person must know before the PIN."""
        ...

    def spends_final_try(self) -> bool:
        """Whether the person knows that a wrong PIN now locks the card, and goes on."""
        ...

    def pin(self) -> Pin:
        """The PIN, asked once; not called where it is typed on the reader."""
        ...
