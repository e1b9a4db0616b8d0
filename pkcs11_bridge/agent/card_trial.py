"""A signature that proves that card, module and PIN work together, and is good for nothing else."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pkcs11_bridge.agent.card_signature import (
    REAL_CARDS,
    CardAccess,
    CardSignature,
    Purpose,
    sign_with_card,
)
from pkcs11_bridge.agent.person import Person
from pkcs11_bridge.readers import Reader

LABEL = b"tamga/card-trial/1\0"
RANDOM_BYTES = 32
ORIGIN = "tamga card test"


def try_card(
    module_for: Callable[[Reader], Path],
    person: Person,
    *,
    at: datetime,
    wait_seconds: float = 0.0,
    reader_name: str | None = None,
    cards: CardAccess = REAL_CARDS,
) -> CardSignature:
    """Sign a text of our own, as a login would, and verify the signature.

    The text begins with a label and has not the 64 bytes of a login's message: no service takes
    it for one.

    Raises:
        AgentError, TokenError: as ``sign_with_card``.
    """
    return sign_with_card(
        LABEL + os.urandom(RANDOM_BYTES),
        Purpose(ORIGIN, confirmed=True),
        module_for,
        person,
        at=at,
        wait_seconds=wait_seconds,
        reader_name=reader_name,
        cards=cards,
    )
