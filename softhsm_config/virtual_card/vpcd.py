"""The card's end of the virtual reader: a TCP client with two-byte length frames.

Source: vsmartcard, virtualsmartcard/src/vpcd (both directions: big-endian length, payload).
"""

import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from softhsm_config.errors import FrameMalformed, ReaderFailed

_RETRY_SECONDS = 0.05


class ReaderConnection:
    """One insertion of a card: connecting inserts it, closing removes it."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @classmethod
    def open(cls, address: tuple[str, int], wait_seconds: float) -> Self:
        """Connect to the reader, waiting until it listens.

        Raises:
            ReaderFailed: It does not listen within the time.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                return cls(socket.create_connection(address))
            except ConnectionRefusedError as e:
                if time.monotonic() > deadline:
                    raise ReaderFailed("the virtual reader's driver does not listen") from e
                time.sleep(_RETRY_SECONDS)

    def read_frame(self) -> bytes | None:
        """Return the next frame's payload, None when the connection ended between frames.

        Raises:
            FrameMalformed: The connection ended inside a frame.
        """
        header = self._read(2)
        if not header:
            return None
        length = int.from_bytes(header, "big")
        payload = self._read(length) if len(header) == 2 else b""
        if len(header) != 2 or len(payload) != length:
            raise FrameMalformed("the reader hung up inside a frame")
        return payload

    def write_frame(self, payload: bytes) -> None:
        """Send one frame (payload up to 65,535 bytes)."""
        self._socket.sendall(len(payload).to_bytes(2, "big") + payload)

    def close(self) -> None:
        """Remove the card; a thread that waits in `read_frame` returns."""
        with suppress(OSError):  # the other end, or another thread, was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, length: int) -> bytes:
        collected = b""
        while len(collected) < length:
            try:
                # The driver sends length and body apart; without an immediate acknowledgement
                # Nagle's algorithm and delayed ACK add 200 ms to each. The option wears off.
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                part = self._socket.recv(length - len(collected))
            except OSError:
                break  # closed here or there: both mean that the card is out
            if not part:
                break
            collected += part
        return collected
