"""Counts what each token signed in this process, for reports that name the modules in use."""

import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SigningToken:
    """A token that signed, and the module through which it did."""

    module: Path
    label: str


_counts: Counter[SigningToken] = Counter()
_counts_lock = threading.Lock()


def sign_counts() -> dict[SigningToken, int]:
    """Signatures made by this process so far, by token."""
    with _counts_lock:
        return dict(_counts)


def count_signature(module: Path, token_label: str) -> None:
    """Count one successful C_Sign."""
    with _counts_lock:
        _counts[SigningToken(module, token_label)] += 1
