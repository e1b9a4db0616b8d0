"""Receipts: C2SP tlog-proof texts whose extra line carries the entry and its salt."""

import base64
import re
from dataclasses import dataclass, field
from typing import Self

from signer.receipts.cbor import decode_array, encode_array
from signer.receipts.checkpoint import parse_decimal
from signer.receipts.errors import CborNotDeterministic, ReceiptMalformed
from signer.receipts.leaf import SALT_BYTES
from signer.receipts.note import MAX_NOTE_BYTES, strict_base64

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63  # a tree has fewer than 2**63 leaves
MAX_EXTRA_CHARS = 90_000
MAX_RECEIPT_BYTES = MAX_NOTE_BYTES + MAX_EXTRA_CHARS + 8192

_HASH_LINE = re.compile(r"[A-Za-z0-9+/]{43}=")  # base64 of exactly 32 bytes


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A tlog-proof as it came; nothing in it is verified.

    Attributes:
        index: the entry's position.
        path: hashes of 32 bytes, the leaf's sibling first.
        checkpoint: the signed note, verbatim.
        extra: the extra line's bytes, None where there is no such line.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a tlog-proof.

        Raises:
            ReceiptMalformed: the bytes are not one in its canonical form.
        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise ReceiptMalformed("the receipt is too long")
        head, separator, checkpoint = data.partition(b"\n\n")
        if not separator or not checkpoint:
            raise ReceiptMalformed("the checkpoint follows an empty line")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ReceiptMalformed("the proof's lines are ASCII") from error
        if lines.pop(0) != HEADER:
            raise ReceiptMalformed("the first line does not name the format")
        try:
            extra = _take(lines, "extra ")
            index = _take(lines, "index ")
            if index is None or len(lines) > MAX_PATH:
                raise ReceiptMalformed("the index is missing, or the path is too long")
            path = tuple(_parse_hash(line) for line in lines)
            extra_bytes = None if extra is None else strict_base64(extra)
            return cls(parse_decimal(index), path, checkpoint, extra_bytes)
        except ValueError as error:
            raise ReceiptMalformed("a line's number or base64 is malformed") from error

    def serialise(self) -> bytes:
        """The proof's bytes."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(value).decode() for value in self.path)
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


@dataclass(frozen=True, slots=True)
class UnverifiedReceipt:
    """A receipt as it came: a tlog-proof that carries an entry and a salt.

    Attributes:
        proof: the tlog-proof.
        entry: the log entry's bytes.
        salt: 32 bytes; with the ballot they open the entry's commitment.
    """

    proof: TlogProof
    entry: bytes
    salt: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a receipt.

        Raises:
            ReceiptMalformed: it is not a tlog-proof, or its extra line is not the
                deterministic CBOR array `[entry: bstr, salt: bstr of 32 bytes]`.
        """
        proof = TlogProof.parse(data)
        if proof.extra is None:
            raise ReceiptMalformed("a receipt has an extra line")
        try:
            items = decode_array(proof.extra)
        except CborNotDeterministic as error:
            raise ReceiptMalformed("the extra line is not a deterministic CBOR array") from error
        match items:
            case (bytes() as entry, bytes() as salt) if len(salt) == SALT_BYTES:
                return cls(proof, entry, salt)
        raise ReceiptMalformed("the extra line holds an entry and a salt of 32 bytes")


def serialise_receipt(
    *, entry: bytes, salt: bytes, index: int, path: tuple[bytes, ...], checkpoint: bytes
) -> bytes:
    """A receipt's bytes: a pure function of stored facts, and so the same for ever.

    Args:
        entry: the log entry.
        salt: 32 bytes.
        index: the entry's position.
        path: inclusion path for the checkpoint's size.
        checkpoint: the signed note as it was committed.
    """
    return TlogProof(index, path, checkpoint, encode_array([entry, salt])).serialise()


def _take(lines: list[str], prefix: str) -> str | None:
    """The rest of the first line, which is removed, if it begins so."""
    if lines and lines[0].startswith(prefix):
        return lines.pop(0).removeprefix(prefix)
    return None


def _parse_hash(line: str) -> bytes:
    if _HASH_LINE.fullmatch(line) is None:
        raise ReceiptMalformed("a path's line is a hash of 32 bytes in base64")
    return strict_base64(line)
