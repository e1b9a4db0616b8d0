"""The PIV card application as a state machine over a card's memory. Pure.

Source: NIST SP 800-73-4 part 2 (commands), part 1 sections 3 and 4 (objects, keys).
The memory decides what survives power loss (keys, objects, PIN tries); this file keeps only
what a card forgets on reset: whether the PIN was shown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from softhsm_config.errors import InputUnfit, TlvMalformed
from softhsm_config.virtual_card import tlv
from softhsm_config.virtual_card.apdu import SW_OK, SW_WRONG_LENGTH, Command, Response
from softhsm_config.virtual_card.chip_key import ChipKey
from softhsm_config.virtual_card.slots import PinRule, Slot

AID = bytes.fromhex("A000000308000010000100")
# The reader reports this answer to reset: OpenSC offers EC mechanisms only to ATRs it knows
# (here that of a YubiKey 5), see its card-piv.c match table.
ATR = bytes.fromhex("3BFD1300008131FE158073C021C057597562694B657940")
FIRMWARE_VERSION = bytes.fromhex("050403")
DISCOVERY_TAG = b"\x7e"
PIN_REFERENCE = 0x80
PIN_LENGTH = 8

INS_VERIFY = 0x20
INS_GENERAL_AUTHENTICATE = 0x87
INS_SELECT = 0xA4
INS_GET_DATA = 0xCB
INS_SERIAL = 0xF8
INS_VERSION = 0xFD

SW_PIN_REQUIRED = 0x6982
SW_PIN_BLOCKED = 0x6983
SW_DATA_INVALID = 0x6A80
SW_NOT_FOUND = 0x6A82
SW_PARAMETERS_WRONG = 0x6A86
SW_REFERENCE_NOT_FOUND = 0x6A88
SW_INSTRUCTION_UNKNOWN = 0x6D00
SW_TRIES_LEFT = 0x63C0


class CardMemory(Protocol):
    """What the chip keeps without power."""

    @property
    def serial(self) -> int:
        """Card serial number, 32 bits."""
        ...

    @property
    def tries_left(self) -> int:
        """PIN tries left, 0 when the PIN is blocked."""
        ...

    def data_object(self, tag: bytes) -> bytes | None:
        """Return the encoded data object with this tag, None if the card has none."""
        ...

    def key(self, slot: Slot) -> ChipKey | None:
        """Return the private key of a slot, None if the slot is empty."""
        ...

    def try_pin(self, padded_pin: bytes) -> bool:
        """Spend one try and compare; restore the tries when the PIN is right."""
        ...


@dataclass(slots=True)
class _PinState:
    verified: bool = False
    fresh: bool = False


class PivApplication:
    """Executes PIV commands."""

    def __init__(self, memory: CardMemory) -> None:
        self._memory = memory
        self._pin = _PinState()
        self._handlers: Mapping[int, Callable[[Command], Response]] = {
            INS_SELECT: self._select,
            INS_GET_DATA: self._get_data,
            INS_VERIFY: self._verify,
            INS_GENERAL_AUTHENTICATE: self._general_authenticate,
            INS_VERSION: lambda _: Response(FIRMWARE_VERSION),
            INS_SERIAL: lambda _: Response(memory.serial.to_bytes(4, "big")),
        }

    def reset(self) -> None:
        """Forget the PIN state, as loss of power and reset do."""
        self._pin = _PinState()

    def execute(self, command: Command) -> Response:
        """Run one complete (unchained) command."""
        handler = self._handlers.get(command.ins)
        return handler(command) if handler else Response(status=SW_INSTRUCTION_UNKNOWN)

    def _select(self, command: Command) -> Response:
        name = command.data[:9]
        by_name = (command.p1, command.p2) == (0x04, 0x00)
        if not by_name or len(name) < 5 or not AID.startswith(name):
            return Response(status=SW_NOT_FOUND)
        self._pin.fresh = False
        template = tlv.encode(0x4F, AID[5:]) + tlv.encode(0x79, tlv.encode(0x4F, AID[:5]))
        return Response(tlv.encode(0x61, template))

    def _get_data(self, command: Command) -> Response:
        if (command.p1, command.p2) != (0x3F, 0xFF):
            return Response(status=SW_PARAMETERS_WRONG)
        try:
            ((tag, name),) = tlv.decode_all(command.data)
        except (TlvMalformed, ValueError):
            return Response(status=SW_DATA_INVALID)
        if tag != 0x5C:
            return Response(status=SW_DATA_INVALID)
        if name == DISCOVERY_TAG:
            return Response(discovery_object())
        found = self._memory.data_object(name)
        return Response(status=SW_NOT_FOUND) if found is None else Response(found)

    def _verify(self, command: Command) -> Response:
        if command.p2 != PIN_REFERENCE:
            return Response(status=SW_REFERENCE_NOT_FOUND)
        if command.p1 == 0xFF and not command.data:
            self.reset()
            return Response()
        if command.p1:
            return Response(status=SW_PARAMETERS_WRONG)
        if not command.data:
            return Response(status=SW_OK if self._pin.verified else self._refusal())
        if len(command.data) != PIN_LENGTH:
            return Response(status=SW_DATA_INVALID)
        right = self._memory.tries_left > 0 and self._memory.try_pin(command.data)
        self._pin = _PinState(verified=right, fresh=right)
        return Response(status=SW_OK if right else self._refusal())

    def _refusal(self) -> int:
        tries = self._memory.tries_left
        return SW_TRIES_LEFT | tries if tries else SW_PIN_BLOCKED

    def _general_authenticate(self, command: Command) -> Response:
        pin, self._pin = self._pin, _PinState(verified=self._pin.verified)
        slot = Slot.of_reference(command.p2)
        key = None if slot is None else self._memory.key(slot)
        if slot is None or key is None:
            return Response(status=SW_REFERENCE_NOT_FOUND)
        if command.p1 != key.algorithm.piv_code:
            return Response(status=SW_PARAMETERS_WRONG)
        challenge = _challenge(command.data)
        if challenge is None:
            return Response(status=SW_DATA_INVALID)
        if not _pin_suffices(slot.pin_rule, pin):
            return Response(status=SW_PIN_REQUIRED)
        try:
            signature = key.sign(challenge)
        except InputUnfit:
            return Response(status=SW_WRONG_LENGTH)
        return Response(tlv.encode(0x7C, tlv.encode(0x82, signature)))


def discovery_object() -> bytes:
    """Return the Discovery Object: this card has a card PIN and nothing else (part 1, 3.3.2)."""
    return tlv.encode(0x7E, tlv.encode(0x4F, AID) + tlv.encode(0x5F2F, b"\x40\x00"))


def _challenge(data: bytes) -> bytes | None:
    """Return the value of tag 81 inside the dynamic authentication template 7C, if there is one."""
    try:
        ((tag, template),) = tlv.decode_all(data)
        return dict(tlv.decode_all(template)).get(0x81) if tag == 0x7C else None
    except (TlvMalformed, ValueError):
        return None


def _pin_suffices(rule: PinRule, pin: _PinState) -> bool:
    match rule:
        case PinRule.NEVER:
            return True
        case PinRule.ONCE:
            return pin.verified
        case PinRule.ALWAYS:
            return pin.fresh
