"""Proof that real modules signed: what each token did, told at the end of the run."""

import os
from dataclasses import dataclass
from pathlib import Path

from pkcs11_bridge.session import sign_counts


@dataclass(frozen=True)
class SignatureReport:
    """How many signatures one token made."""

    module: Path
    process_id: int
    token: str
    signatures: int


_cards: list[SignatureReport] = []


def counts_by_label() -> dict[str, int]:
    """This process's signatures by token label."""
    return {token.label: count for token, count in sign_counts().items()}


def report_card(module: Path, process_id: int, token: str, signatures: int) -> None:
    """Note what a virtual card counted in a process of its own."""
    _cards.append(SignatureReport(module, process_id, token, signatures))


def reports() -> list[SignatureReport]:
    """Every token's figures: those of this process, and the virtual cards' own."""
    own = [
        SignatureReport(token.module, os.getpid(), f"token {token.label}", count)
        for token, count in sign_counts().items()
    ]
    return own + _cards
