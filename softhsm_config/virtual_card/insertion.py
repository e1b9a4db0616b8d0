"""Insertion and removal of one card: a thread that answers the reader while the card is in."""

import threading

from softhsm_config.errors import CardCommandRefused, CardPulled, FrameMalformed
from softhsm_config.virtual_card.card import Card
from softhsm_config.virtual_card.vpcd import ReaderConnection


class Insertion:
    """Puts a card into the reader that listens at an address and takes it out again."""

    def __init__(self, card: Card, address: tuple[str, int], *, wait_seconds: float) -> None:
        self._card = card
        self._address = address
        self._wait_seconds = wait_seconds
        self._connection: ReaderConnection | None = None
        self._thread: threading.Thread | None = None

    @property
    def inserted(self) -> bool:
        """Whether the card is in the reader."""
        return self._thread is not None and self._thread.is_alive()

    def insert(self) -> None:
        """Put the card in.

        Raises:
            CardCommandRefused: It is in already.
            ReaderFailed: No reader listens.
        """
        if self.inserted:
            raise CardCommandRefused("the card is in the reader already")
        self._card.insert()
        connection = ReaderConnection.open(self._address, self._wait_seconds)
        self._connection = connection
        self._thread = threading.Thread(target=self._serve, args=(connection,))
        self._thread.start()

    def remove(self) -> None:
        """Take the card out, also in the middle of a command; without effect if it is out."""
        self._card.pull()
        if self._connection is not None and self._thread is not None:
            self._connection.close()
            self._thread.join()
        self._connection = self._thread = None

    def _serve(self, connection: ReaderConnection) -> None:
        with connection:
            try:
                while (frame := connection.read_frame()) is not None:
                    answer = self._card.answer(frame)
                    if answer is not None:
                        connection.write_frame(answer)
            except (CardPulled, FrameMalformed, OSError):
                return  # the card is out, whichever end noticed first
