"""A card in a reader: application, APDU channel, faults and trace behind the reader's frames."""

import threading
from collections.abc import Callable
from dataclasses import replace

from softhsm_config.errors import CardPulled
from softhsm_config.virtual_card.apdu import SW_OK, ApduChannel, Command, Response
from softhsm_config.virtual_card.faults import Faults
from softhsm_config.virtual_card.piv import (
    ATR,
    INS_GENERAL_AUTHENTICATE,
    INS_VERIFY,
    CardMemory,
    PivApplication,
)

# Control frames of the virtual reader are one byte long (vsmartcard, vpcd protocol).
POWER_OFF, POWER_ON, RESET, GET_ATR = 0x00, 0x01, 0x02, 0x04

Trace = Callable[[str], None]


class Card:
    """Answers the reader's frames from one card's memory."""

    def __init__(self, memory: CardMemory, trace: Trace) -> None:
        self._application = PivApplication(memory)
        self._channel = ApduChannel(self._execute)
        self._trace = trace
        self._pulled = threading.Event()
        self._lock = threading.Lock()
        self._faults = Faults()
        self._signatures = 0

    @property
    def signatures(self) -> int:
        """Signatures that left the card since it was made."""
        return self._signatures

    @property
    def faults(self) -> Faults:
        """The faults that are switched on."""
        return self._faults

    def set_faults(self, faults: Faults) -> None:
        """Switch faults on or off, from any thread."""
        with self._lock:
            self._faults = faults

    def insert(self) -> None:
        """Put the card into the reader without power."""
        self._pulled.clear()
        self._lose_power()

    def pull(self) -> None:
        """Take the card out: a key operation that runs ends at once, without an answer."""
        self._pulled.set()

    def answer(self, frame: bytes) -> bytes | None:
        """Answer one frame of the reader; None if it wants no answer.

        Raises:
            CardPulled: The card was taken out meanwhile.
        """
        if len(frame) == 1:
            return self._control(frame[0])
        self._trace(f"> {masked(frame)}")
        answer = self._channel.handle(frame)
        self._trace(f"< {answer.hex()}")
        return answer

    def _control(self, code: int) -> bytes | None:
        if code in (POWER_OFF, POWER_ON, RESET):
            self._lose_power()
        return ATR if code == GET_ATR else None

    def _lose_power(self) -> None:
        self._application.reset()
        self._channel.reset()

    def _execute(self, command: Command) -> Response:
        if command.ins != INS_GENERAL_AUTHENTICATE:
            return self._application.execute(command)
        with self._lock:
            faults = self._faults
            self._faults = replace(faults, remove_while_signing=False)
        if self._pulled.wait(faults.signing_seconds) or faults.remove_while_signing:
            raise CardPulled
        if faults.status_word is not None:
            return Response(status=faults.status_word)
        return self._signed(self._application.execute(command), faults)

    def _signed(self, answer: Response, faults: Faults) -> Response:
        if answer.status != SW_OK:
            return answer
        self._signatures += 1
        if faults.corrupt_signatures:
            return replace(answer, data=answer.data[:-1] + bytes([answer.data[-1] ^ 1]))
        return answer


def masked(frame: bytes) -> str:
    """Return a command APDU in hex, without the data of VERIFY: a trace never holds a PIN."""
    if len(frame) > 4 and frame[1] == INS_VERIFY:
        return f"{frame[:4].hex()} [{len(frame) - 4} bytes masked]"
    return frame.hex()
