"""Command and response APDUs: short and extended lengths, chaining, GET RESPONSE. Pure.

Source: ISO/IEC 7816-4 sections 5.1 (encoding), 5.1.1 (command chaining), 5.1.3 (61xx).
"""

from collections.abc import Callable
from dataclasses import dataclass

from softhsm_config.errors import ApduMalformed

CHAINING = 0x10
GET_RESPONSE = 0xC0
MAX_CHAINED_BYTES = 0x10000

SW_OK = 0x9000
SW_WRONG_LENGTH = 0x6700
SW_LAST_OF_CHAIN_EXPECTED = 0x6883
SW_CONDITIONS_NOT_SATISFIED = 0x6985


@dataclass(frozen=True, slots=True)
class Command:
    """One command APDU.

    Attributes:
        cla: Class byte.
        ins: Instruction byte.
        p1: First parameter byte.
        p2: Second parameter byte.
        data: Command data field, empty when absent.
        expected: Bytes the caller wants at most (Le; 0 on the wire = 256 or 65,536), None if
            the command has no Le field.
    """

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    expected: int | None


@dataclass(frozen=True, slots=True)
class Response:
    """One response APDU: data and the status word SW1-SW2 as one number."""

    data: bytes = b""
    status: int = SW_OK

    def encode(self) -> bytes:
        """Return the bytes that go to the reader."""
        return self.data + self.status.to_bytes(2, "big")


def parse_command(unverified: bytes) -> Command:
    """Parse the seven cases of ISO/IEC 7816-4 section 5.1 (1, 2S, 3S, 4S, 2E, 3E, 4E).

    Raises:
        ApduMalformed: The header is short or the length fields contradict the length.
    """
    if len(unverified) < 4:
        raise ApduMalformed("header is shorter than four bytes")
    cla, ins, p1, p2 = unverified[:4]
    body = unverified[4:]
    if not body:
        data, expected = b"", None
    elif len(body) == 1:
        data, expected = b"", body[0] or 0x100
    elif body[0]:
        data, expected = _short_body(body)
    else:
        data, expected = _extended_body(body)
    return Command(cla, ins, p1, p2, data, expected)


def _short_body(body: bytes) -> tuple[bytes, int | None]:
    length = body[0]
    data, rest = body[1 : 1 + length], body[1 + length :]
    if len(data) != length or len(rest) > 1:
        raise ApduMalformed("short Lc does not fit the length")
    return data, (rest[0] or 0x100) if rest else None


def _extended_body(body: bytes) -> tuple[bytes, int | None]:
    if len(body) < 3:
        raise ApduMalformed("extended length field is cut off")
    length = int.from_bytes(body[1:3], "big")
    if len(body) == 3:
        return b"", length or 0x10000
    data, rest = body[3 : 3 + length], body[3 + length :]
    if not length or len(data) != length or len(rest) not in (0, 2):
        raise ApduMalformed("extended Lc does not fit the length")
    return data, (int.from_bytes(rest, "big") or 0x10000) if rest else None


class ApduChannel:
    """The part of a card that joins chained commands and hands out long answers in pieces."""

    def __init__(self, execute: Callable[[Command], Response]) -> None:
        self._execute = execute
        self._chained: list[Command] = []
        self._pending = b""
        self._pending_status = SW_OK

    def reset(self) -> None:
        """Forget a half-received command and a half-sent answer (power or reset)."""
        self._chained = []
        self._pending = b""

    def handle(self, unverified: bytes) -> bytes:
        """Answer one command APDU; never raises for what the reader sends."""
        try:
            command = parse_command(unverified)
        except ApduMalformed:
            self.reset()
            return Response(status=SW_WRONG_LENGTH).encode()
        if command.ins == GET_RESPONSE:
            return self._next_piece(command).encode()
        self._pending = b""
        if command.cla & CHAINING:
            return self._append(command).encode()
        whole = self._joined(command)
        if whole is None:
            return Response(status=SW_LAST_OF_CHAIN_EXPECTED).encode()
        answer = self._execute(whole)
        return self._first_piece(answer, command).encode()

    def _append(self, command: Command) -> Response:
        collected = sum(len(part.data) for part in self._chained) + len(command.data)
        if collected > MAX_CHAINED_BYTES:
            self.reset()
            return Response(status=SW_WRONG_LENGTH)
        self._chained.append(command)
        return Response()

    def _joined(self, last: Command) -> Command | None:
        parts, self._chained = self._chained, []
        header = (last.cla, last.ins, last.p1, last.p2)
        if any((p.cla & ~CHAINING, p.ins, p.p1, p.p2) != header for p in parts):
            return None
        data = b"".join(part.data for part in parts) + last.data
        return Command(*header, data, last.expected)

    def _first_piece(self, answer: Response, command: Command) -> Response:
        self._pending, self._pending_status = answer.data, answer.status
        return self._piece(command.expected or 0x100)

    def _next_piece(self, command: Command) -> Response:
        if not self._pending:
            return Response(status=SW_CONDITIONS_NOT_SATISFIED)
        return self._piece(command.expected or 0x100)

    def _piece(self, limit: int) -> Response:
        piece, self._pending = self._pending[:limit], self._pending[limit:]
        if not self._pending:
            return Response(piece, self._pending_status)
        # 6100 means "256 or more bytes are left" (ISO/IEC 7816-4 table 5).
        left = len(self._pending)
        return Response(piece, 0x6100 | (left if left < 0x100 else 0))
