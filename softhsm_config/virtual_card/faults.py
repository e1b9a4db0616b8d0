"""Faults that tests and demonstrations switch on in a running card. Pure."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong when a key is used, until other faults are set.

    Attributes:
        signing_seconds: Every key operation takes this much longer.
        remove_while_signing: The card leaves the reader in the middle of a key operation;
            switched off once it did.
        corrupt_signatures: The last byte of every signature is wrong.
        status_word: Key operations answer with this status instead of doing anything.
    """

    signing_seconds: float = 0.0
    remove_while_signing: bool = False
    corrupt_signatures: bool = False
    status_word: int | None = None

    def to_json(self) -> dict[str, float | bool | int | None]:
        """Return the members as JSON values."""
        return asdict(self)
