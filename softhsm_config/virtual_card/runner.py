"""The process inside the namespaces: a pcscd of our own, one card, a control socket.

It speaks to the program that started it through its standard streams: one JSON line on
standard output when the card is in ({"ready": true}) or why not ({"failed": ...}); the end of
its standard input, which comes also when that program is killed, ends it. As the first process
of its process namespace it takes everything it started with it.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from softhsm_config.errors import CardCommandRefused, SofthsmConfigError
from softhsm_config.virtual_card import isolation
from softhsm_config.virtual_card.card import Card, Trace
from softhsm_config.virtual_card.card_file import CardImage
from softhsm_config.virtual_card.control import Answer, ControlServer, Question
from softhsm_config.virtual_card.faults import Faults
from softhsm_config.virtual_card.insertion import Insertion

_START_SECONDS = 10.0
_STOP_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class RuntimeLayout:
    """The files of one running reader below its owner-only directory."""

    directory: Path

    @property
    def sockets(self) -> Path:
        """Directory that pcscd sees as /run/pcscd."""
        return self.directory / "pcscd"

    @property
    def pcsc_socket(self) -> Path:
        """Where PC/SC clients connect (PCSCLITE_CSOCK_NAME)."""
        return self.sockets / "pcscd.comm"

    @property
    def control(self) -> Path:
        """The card's control socket."""
        return self.directory / "control.sock"

    @property
    def readers(self) -> Path:
        """Directory with the one reader file."""
        return self.directory / "readers"

    @property
    def empty(self) -> Path:
        """A directory that stays empty."""
        return self.directory / "empty"

    @property
    def driver(self) -> Path:
        """Our copy of the virtual reader's driver."""
        return self.directory / "libifdvpcd.so"

    @property
    def log(self) -> Path:
        """What pcscd and the runner said."""
        return self.directory / "reader.log"

    @property
    def trace(self) -> Path:
        """APDU trace, if asked for."""
        return self.directory / "trace.log"

    def prepare(self, reader_name: str) -> None:
        """Fill the (existing, owner-only) directory."""
        for folder in (self.sockets, self.readers, self.empty):
            folder.mkdir()
        isolation.copy_driver(self.driver)
        text = isolation.reader_configuration(reader_name, self.driver)
        (self.readers / "reader.conf").write_text(text, encoding="ascii")


class PcscService:
    """The pcscd of this namespace, which can be begun anew while the card's process goes on."""

    def __init__(self, layout: RuntimeLayout) -> None:
        self._layout = layout
        self._changing = threading.Lock()
        self._process = _pcscd(layout)

    def restart(self) -> None:
        """End pcscd and start another one.

        Raises:
            CardCommandRefused: root was given up, and it needs root.
        """
        with self._changing:
            if not _end(self._process):
                raise CardCommandRefused("pcscd cannot be ended by this user")
            self._process = _pcscd(self._layout)

    def wait(self, parent: TextIO) -> int:
        """Wait until the parent goes (0) or pcscd dies unasked (1)."""
        while True:
            process = self._process
            ended = os.pidfd_open(process.pid)
            try:
                readable, _, _ = select.select([parent.fileno(), ended], [], [])
            finally:
                os.close(ended)
            if parent.fileno() in readable:
                return 0
            with self._changing:
                if process is self._process:
                    return 1

    def end(self) -> None:
        """End pcscd."""
        _end(self._process)


class CardControl:
    """What the control socket can ask of the card."""

    def __init__(
        self, image: CardImage, card: Card, insertion: Insertion, service: PcscService
    ) -> None:
        self._image = image
        self._card = card
        self._insertion = insertion
        self._service = service
        self._commands: dict[str, Callable[[Question], None]] = {
            "insert": lambda _: insertion.insert(),
            "remove": lambda _: insertion.remove(),
            "faults": lambda question: card.set_faults(Faults(**question["faults"])),
            "restore-tries": lambda _: image.restore_tries(),
            "restart-service": lambda _: self._restart_service(),
            "state": lambda _: None,
        }

    def handle(self, question: Question) -> Answer:
        """Run one command and answer with the card's state after it."""
        command = self._commands.get(question["command"])
        if command is None:
            raise CardCommandRefused("unknown command")
        command(question)
        return {
            "inserted": self._insertion.inserted,
            "tries_left": self._image.tries_left,
            "signatures": self._card.signatures,
            "faults": self._card.faults.to_json(),
        }

    def _restart_service(self) -> None:
        self._insertion.remove()
        self._service.restart()
        self._insertion.insert()


def run(directory: Path, image_directory: Path, *, traced: bool) -> int:
    """Serve one card until standard input ends; returns the exit status.

    Args:
        directory: Prepared runtime directory (`RuntimeLayout.prepare`).
        image_directory: The card image.
        traced: Whether APDUs go to the trace file (PIN data masked).
    """
    layout = RuntimeLayout(directory)
    with ExitStack() as stack:
        try:
            isolation.raise_loopback()
            isolation.hide_the_machine(layout.sockets, layout.empty)
            service = PcscService(layout)
            stack.callback(service.end)
            isolation.become_owner_of(directory)
            image = CardImage.open(image_directory)
            stack.enter_context(image.locked())
            card = Card(image, _trace_to(stack, layout) if traced else _no_trace)
            address = ("127.0.0.1", isolation.VPCD_PORT)
            insertion = Insertion(card, address, wait_seconds=_START_SECONDS)
            stack.callback(insertion.remove)
            insertion.insert()
            asked = CardControl(image, card, insertion, service)
            control = ControlServer(layout.control, asked.handle)
            stack.callback(control.close)
        except (SofthsmConfigError, OSError) as e:
            _say({"failed": str(e)})
            return 1
        _say({"ready": True})
        status = service.wait(sys.stdin)
    if status == 0:
        # The parent may have been killed: nobody else would clear up.
        shutil.rmtree(directory, ignore_errors=True)
    return status


def _pcscd(layout: RuntimeLayout) -> subprocess.Popen[bytes]:
    log = layout.log.open("ab")
    with log:
        return subprocess.Popen(
            isolation.pcscd_command(layout.readers),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _end(pcscd: subprocess.Popen[bytes]) -> bool:
    """Whether it could be ended here; else the end of the process namespace ends it."""
    try:
        pcscd.terminate()
        pcscd.wait(_STOP_SECONDS)
    except PermissionError:
        return False  # root was given up
    except subprocess.TimeoutExpired:
        pcscd.kill()
        pcscd.wait()
    return True


def _no_trace(_: str) -> None:
    return


def _trace_to(stack: ExitStack, layout: RuntimeLayout) -> Trace:
    file = stack.enter_context(layout.trace.open("a", encoding="ascii", buffering=1))
    return lambda line: print(line, file=file)


def _say(message: Answer) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
