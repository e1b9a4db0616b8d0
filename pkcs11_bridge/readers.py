"""Card readers by PC/SC: which are there, which holds a card, and two things no module tells.

The only file that speaks PC/SC. Beside finding the card it reads the exact number of PIN tries of
a PIV card (PKCS#11 flags do not tell it), and resets a card, since a verified PIN outlives the
program that typed it. Every call opens a context of its own: a service that was restarted
meanwhile is no trouble.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from smartcard import scard as untyped_scard

from pkcs11_bridge.errors import (
    CardMute,
    CardRemoved,
    DeviceUnavailable,
    NoCard,
    NoReader,
    ReaderServiceDown,
    TokenAmbiguous,
    TokenBusy,
)

scard: Any = untyped_scard
"""pyscard ships no types; every value taken from it is given one where it is taken."""

POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0
"""The longest wait on PC/SC at a stretch: a reader that came just before it is seen after it."""
GONE_SECONDS = 1.5
_PLUG_AND_PLAY = "\\\\?PnP?\\Notification"
"""Asked about like a reader, it reports readers that come and go (pcsc-lite, WinSCard)."""
_PIV_AID = bytes.fromhex("A000000308")  # NIST SP 800-73-4 part 1, section 2.2
_PIV_PIN_REFERENCE = 0x80
_BLOCKED = 0x6983
_NO_READERS = {scard.SCARD_E_NO_READERS_AVAILABLE & 0xFFFFFFFF}
_NOTHING_NEW = {
    code & 0xFFFFFFFF
    for code in (scard.SCARD_E_TIMEOUT, scard.SCARD_E_CANCELLED, scard.SCARD_E_UNKNOWN_READER)
}
"""A reader that was unplugged meanwhile is no error: the list is read anew."""
_GONE = {
    code & 0xFFFFFFFF
    for code in (
        scard.SCARD_W_REMOVED_CARD,
        scard.SCARD_E_NO_SMARTCARD,
        scard.SCARD_E_READER_UNAVAILABLE,
        scard.SCARD_E_UNKNOWN_READER,
    )
}
_MUTE = {scard.SCARD_W_UNRESPONSIVE_CARD & 0xFFFFFFFF, scard.SCARD_W_UNPOWERED_CARD & 0xFFFFFFFF}
_SHARED_OUT = scard.SCARD_E_SHARING_VIOLATION & 0xFFFFFFFF
_SERVICE_GONE = {scard.SCARD_E_NO_SERVICE & 0xFFFFFFFF, scard.SCARD_E_SERVICE_STOPPED & 0xFFFFFFFF}


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader by its PC/SC name, and the answer to reset of the card in it."""

    name: str
    atr: bytes | None
    """None: the reader is empty."""
    mute: bool = False
    """A card is in, and does not answer."""
    changes: int = 0
    """How often a card came or went since the reader was connected, as PC/SC counts (16 bits)."""


@dataclass(frozen=True, slots=True)
class _Card:
    handle: int
    protocol: int


Missing = NoReader | NoCard | CardMute
"""What is still to be done before a card can be used."""


def list_readers() -> tuple[Reader, ...]:
    """All readers that the PC/SC service knows now; none is an empty tuple.

    Raises:
        ReaderServiceDown: no PC/SC service, or it refuses this user.
    """
    with _context() as context:
        return _readers(context)


def wait_for_change(seen: Sequence[Reader], seconds: float) -> tuple[Reader, ...]:
    """All readers, once they or their cards differ from what was seen, or the time is over.

    Args:
        seen: an earlier answer of this function or of ``list_readers``.
        seconds: how long to wait, at most ``LOOK_SECONDS`` of it at a stretch.

    Raises:
        ReaderServiceDown: no PC/SC service (any more).
    """
    with _context() as context:
        now = _readers(context)
        if now != tuple(seen) or seconds <= 0:
            return now
        questions = [(_PLUG_AND_PLAY, scard.SCARD_STATE_UNAWARE)]
        questions += [(reader.name, _known_state(reader)) for reader in now]
        milliseconds = int(min(seconds, LOOK_SECONDS) * 1000)
        started = time.monotonic()
        code, _ = scard.SCardGetStatusChange(context, milliseconds, questions)
        if code & 0xFFFFFFFF not in _NOTHING_NEW:
            _check(code)
        now = _readers(context)
        if now == tuple(seen):
            # Woken by what is no change to us (a program that connects to the card): no spinning.
            left = min(seconds, LOOK_SECONDS) - (time.monotonic() - started)
            time.sleep(max(0.0, min(POLL_SECONDS, left)))
        return now


def wait_for_card(
    seconds: float,
    reader_name: str | None = None,
    waiting: Callable[[Missing], None] = lambda _: None,
) -> Reader:
    """The one reader that holds a card, waiting for reader and card.

    Args:
        seconds: how long to wait; 0 looks once.
        reader_name: look at this reader alone.
        waiting: told what is missing, at the beginning and whenever that changes.

    Raises:
        ReaderServiceDown: no PC/SC service.
        NoReader, NoCard: still none when the time was over.
        CardMute: a card is in and does not answer, usually put in the wrong way round.
        TokenAmbiguous: several readers hold a card and none was named.
    """
    deadline = time.monotonic() + seconds
    told: type[Missing] | None = None
    everything = list_readers()
    while True:
        readers = [reader for reader in everything if reader_name in (None, reader.name)]
        holding = [reader for reader in readers if reader.atr is not None]
        if len(holding) > 1:
            raise TokenAmbiguous(len(holding))
        if holding:
            return holding[0]
        missing = _why_none(readers)
        left = deadline - time.monotonic()
        if left <= 0:
            raise missing
        if type(missing) is not told:
            told = type(missing)
            waiting(missing)
        everything = wait_for_change(everything, left)


def card_has_gone(card: Reader) -> bool:
    """Whether the card that was seen is out by now, even if one is back in.

    Looked for repeatedly, for ``GONE_SECONDS``: a module notices before the PC/SC service does,
    which asks its readers a few times a second.

    Args:
        card: the reader as it was when the card was found.

    Raises:
        ReaderServiceDown, DeviceUnavailable.
    """
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        if not any(_same_card(reader, card) for reader in list_readers()):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)


def pin_tries_left(reader_name: str) -> int | None:
    """PIN tries left on a PIV card, told by the card itself; spends none.

    SELECT of the PIV application, then VERIFY without data, which asks for the counter
    (NIST SP 800-73-4 part 2, section 3.2.1: 63Cx, or 6983 when blocked).

    Returns:
        The number; None if the card is no PIV card, is verified already, or is in use elsewhere.

    Raises:
        CardRemoved, CardMute, ReaderServiceDown, DeviceUnavailable.
    """
    try:
        with _connected(reader_name, scard.SCARD_LEAVE_CARD) as card:
            select = bytes((0x00, 0xA4, 0x04, 0x00, len(_PIV_AID))) + _PIV_AID + b"\0"
            if _status_word(card, select) >> 8 not in (0x90, 0x61):
                return None
            word = _status_word(card, bytes((0x00, 0x20, 0x00, _PIV_PIN_REFERENCE)))
    except TokenBusy:
        return None
    if word == _BLOCKED:
        return 0
    return word & 0x0F if word & 0xFFF0 == 0x63C0 else None


def reset_card(reader_name: str) -> None:
    """Reset the card, so that no other program finds its PIN verified.

    Raises:
        CardRemoved: it is out, and thus reset as well as it can be.
        TokenBusy: another program holds it alone, or is in the middle of a transaction.
        CardMute, ReaderServiceDown, DeviceUnavailable.
    """
    with _connected(reader_name, scard.SCARD_RESET_CARD):
        pass


def _readers(context: int) -> tuple[Reader, ...]:
    code, names = scard.SCardListReaders(context, [])
    if code & 0xFFFFFFFF in _NO_READERS or not names:
        return ()
    _check(code)
    questions = [(name, scard.SCARD_STATE_UNAWARE) for name in names]
    code, states = scard.SCardGetStatusChange(context, 0, questions)
    _check(code)
    return tuple(_reader(name, state, bytes(atr)) for name, state, atr in states)


def _reader(name: str, state: int, atr: bytes) -> Reader:
    # A card without an answer to reset: that cannot be powered, or that is out and not yet missed.
    silent = bool(state & scard.SCARD_STATE_PRESENT) and not atr
    mute = bool(state & scard.SCARD_STATE_MUTE) or silent
    present = bool(state & scard.SCARD_STATE_PRESENT) and not mute
    changes = state >> 16 & 0xFFFF
    return Reader(name=name, atr=atr if present else None, mute=mute, changes=changes)


def _same_card(reader: Reader, card: Reader) -> bool:
    return reader.name == card.name and reader.atr is not None and reader.changes == card.changes


def _known_state(reader: Reader) -> int:
    """SCARD_READERSTATE.dwCurrentState of a reader as it was seen."""
    present = reader.atr is not None or reader.mute
    state = scard.SCARD_STATE_PRESENT if present else scard.SCARD_STATE_EMPTY
    return int(state | (scard.SCARD_STATE_MUTE if reader.mute else 0) | reader.changes << 16)


def _why_none(readers: Sequence[Reader]) -> Missing:
    if not readers:
        return NoReader("no card reader is connected")
    if any(reader.mute for reader in readers):
        return CardMute("the card does not answer; put it in the other way round")
    return NoCard("no reader holds a card")


@contextmanager
def _context() -> Iterator[int]:
    code, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    if code != scard.SCARD_S_SUCCESS:
        raise ReaderServiceDown(f"the PC/SC service does not answer (0x{code & 0xFFFFFFFF:08X})")
    try:
        yield context
    finally:
        scard.SCardReleaseContext(context)


@contextmanager
def _connected(reader_name: str, disposition: int) -> Iterator[_Card]:
    """Share the card with others; ``disposition`` says what becomes of it afterwards."""
    with _context() as context:
        code, handle, protocol = scard.SCardConnect(
            context,
            reader_name,
            scard.SCARD_SHARE_SHARED,
            scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1,
        )
        _check(code)
        try:
            yield _Card(handle, protocol)
        except BaseException:
            scard.SCardDisconnect(handle, disposition)
            raise
        # A reset that was refused is no reset.
        _check(scard.SCardDisconnect(handle, disposition))


def _status_word(card: _Card, command: bytes) -> int:
    code, answer = scard.SCardTransmit(card.handle, card.protocol, list(command))
    _check(code)
    return int.from_bytes(bytes(cast("list[int]", answer))[-2:], "big")


def _check(code: int) -> None:
    """Raise the error of a PC/SC return code (pcsclite.h), which pyscard gives signed."""
    unsigned = code & 0xFFFFFFFF
    if unsigned == scard.SCARD_S_SUCCESS:
        return
    told = f"PC/SC answered 0x{unsigned:08X}"
    if unsigned in _SERVICE_GONE:
        raise ReaderServiceDown(told)
    if unsigned in _GONE:
        raise CardRemoved(told)
    if unsigned in _MUTE:
        raise CardMute(told)
    if unsigned == _SHARED_OUT:
        raise TokenBusy(told)
    raise DeviceUnavailable(told)
