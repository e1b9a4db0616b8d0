"""Checkpoints (C2SP tlog-checkpoint v1.0.0): a log's name, size and root in three lines."""

import base64
import re
from dataclasses import dataclass
from typing import Self

from signer.receipts.errors import CheckpointMalformed
from signer.receipts.merkle import HASH_BYTES, MAX_SIZE
from signer.receipts.note import is_key_name, strict_base64

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_decimal(text: str) -> int:
    """A decimal number of at most 19 digits without leading zeroes.

    Raises:
        ValueError: another form.
    """
    if _DECIMAL.fullmatch(text) is None:
        raise ValueError("not a plain decimal number")
    return int(text)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log's keys sign.

    Attributes:
        origin: the log's name.
        size: number of entries.
        root: the root over them, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.origin):
            raise CheckpointMalformed("the origin is not a key's name")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise CheckpointMalformed("the size or the root is out of range")

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read a note's text.

        Raises:
            CheckpointMalformed: it is not exactly three lines of a checkpoint. Extension
                lines, which the specification advises against, are refused.
        """
        try:
            lines = text.decode().split("\n")
        except UnicodeDecodeError as error:
            raise CheckpointMalformed("the checkpoint is not UTF-8") from error
        if len(lines) != 4 or lines[3]:
            raise CheckpointMalformed("a checkpoint is three lines: origin, size and root")
        try:
            return cls(lines[0], parse_decimal(lines[1]), strict_base64(lines[2]))
        except ValueError as error:
            raise CheckpointMalformed("the size or the root is malformed") from error

    def text(self) -> bytes:
        """The note's text."""
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\n".encode()
