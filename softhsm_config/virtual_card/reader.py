"""VirtualReader: start a private PC/SC service with one card in it, and end it without a trace.

Programs reach it by environment alone (`VirtualReader.environment`); a pcscd of the machine,
its readers and its socket are not touched.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from softhsm_config.errors import ProgramMissing, ReaderFailed
from softhsm_config.virtual_card import control, isolation
from softhsm_config.virtual_card.faults import Faults
from softhsm_config.virtual_card.runner import RuntimeLayout

MAX_SOCKET_PATH = 107
_POLL_SECONDS = 0.1
_STOP_SECONDS = 8.0
_CONTROL_SECONDS = 15.0
_CARD_ABSENT, _CARD_PRESENT = "No", "Yes"


@dataclass(frozen=True, slots=True)
class CardState:
    """The running card as its control socket tells it.

    Attributes:
        inserted: Whether it is in the reader.
        tries_left: PIN tries left.
        signatures: Signatures made since the reader started.
    """

    inserted: bool
    tries_left: int
    signatures: int


class VirtualReader:
    """One virtual reader with one card; a context manager."""

    def __init__(
        self,
        image: Path,
        *,
        reader_name: str = "Tamga Virtual Reader",
        traced: bool = False,
        allow_sudo: bool = False,
        wait_seconds: float = 20.0,
    ) -> None:
        """Prepare a reader for a card image; `start` or `with` starts it.

        Args:
            image: Directory of the card (`CardImage`).
            reader_name: What PC/SC programs see; ykcs11 wants a YubiKey's name.
            traced: Whether to keep an APDU trace (PIN data masked), see `trace`.
            allow_sudo: Whether `sudo -n` may be used if nothing else makes namespaces.
            wait_seconds: How long starting, inserting and removing may take each.
        """
        self._image = image.absolute()
        self._reader_name = reader_name
        self._traced = traced
        self._allow_sudo = allow_sudo
        self._wait_seconds = wait_seconds
        self._process: subprocess.Popen[str] | None = None
        self._layout: RuntimeLayout | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that lead PC/SC clients (OpenSC, pyscard) to this reader."""
        return {"PCSCLITE_CSOCK_NAME": str(self._running().pcsc_socket)}

    @property
    def trace(self) -> str:
        """The APDU trace so far, one line per command (`>`) or answer (`<`), in hex."""
        return self._running().trace.read_text(encoding="ascii")

    @property
    def process_id(self) -> int:
        """The process that holds the namespaces, pcscd and the card.

        Raises:
            ReaderFailed: the reader is not running.
        """
        if self._process is None:
            raise ReaderFailed("the virtual reader is not running")
        return self._process.pid

    def start(self) -> None:
        """Start pcscd and the card, and wait until programs can see it.

        Raises:
            ProgramMissing: pcscd, its virtual driver, OpenSC or unshare is not installed.
            IsolationUnavailable: No namespaces on this machine.
            ReaderFailed: It did not come up; the text holds what pcscd said.
        """
        if shutil.which("opensc-tool") is None:
            raise ProgramMissing("opensc-tool", "opensc")
        prefix = isolation.launcher(allow_sudo=self._allow_sudo)
        self._layout = RuntimeLayout(Path(tempfile.mkdtemp(prefix="tamga-")))
        try:
            _require_short(self._layout.pcsc_socket)
            self._layout.prepare(self._reader_name)
            self._process = self._launch(prefix, self._layout)
            self._await_ready(self._process)
            self._await_card(_CARD_PRESENT)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of the reader and remove its files; without effect if stopped."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        layout, self._layout = self._layout, None
        if layout is not None:
            shutil.rmtree(layout.directory, ignore_errors=True)

    def insert_card(self) -> None:
        """Put the card in and wait until programs can see it.

        Raises:
            CardCommandRefused: It is in already.
        """
        if not self.state().inserted:
            # pcscd polls: a card back before its removal was noticed looks like a dead one.
            self._await_card(_CARD_ABSENT)
        self._ask("insert")
        self._await_card(_CARD_PRESENT)

    def remove_card(self) -> None:
        """Pull the card and wait until programs see the empty reader."""
        self._ask("remove")
        self._await_card(_CARD_ABSENT)

    def set_faults(self, faults: Faults) -> None:
        """Switch faults on; `Faults()` switches all off."""
        self._ask("faults", faults=faults.to_json())

    def restore_tries(self) -> None:
        """Unblock the card's PIN, as an issuer's desk does."""
        self._ask("restore-tries")

    def restart_service(self) -> None:
        """Begin the PC/SC service anew, with the card in, and wait until programs can see it.

        Raises:
            CardCommandRefused: The reader was started through sudo, and root was given up.
        """
        self._ask("restart-service")
        self._await_card(_CARD_PRESENT)

    @property
    def control_socket(self) -> Path:
        """Where a program beside this one can ask the card (``control.ask``)."""
        return self._running().control

    def state(self) -> CardState:
        """Ask the card how it is."""
        return self._ask("state")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _running(self) -> RuntimeLayout:
        if self._layout is None:
            raise ReaderFailed("the virtual reader is not running")
        return self._layout

    def _ask(self, command: str, **arguments: object) -> CardState:
        question = {"command": command, **arguments}
        answer = control.ask(self._running().control, question, timeout=_CONTROL_SECONDS)
        return CardState(answer["inserted"], answer["tries_left"], answer["signatures"])

    def _launch(self, prefix: tuple[str, ...], layout: RuntimeLayout) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, "-m", "softhsm_config.virtual_card"]
        command += ["--runtime", str(layout.directory), "--image", str(self._image)]
        command += ["--trace"] if self._traced else []
        with layout.log.open("ab") as log:
            # A session of its own: Ctrl-C at the terminal reaches us, and we stop it in order.
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def _await_ready(self, process: subprocess.Popen[str]) -> None:
        line = process.stdout.readline() if process.stdout else ""
        said = json.loads(line) if line else {}
        if not said.get("ready"):
            log = self._running().log.read_text(encoding="utf-8", errors="replace")
            raise ReaderFailed(said.get("failed") or f"the virtual reader ended: {log[-2000:]}")

    def _await_card(self, wanted: str) -> None:
        """Wait until OpenSC's reader list says that the card is present (Yes) or not (No)."""
        deadline = time.monotonic() + self._wait_seconds
        while _card_column(self.environment) != wanted:
            if time.monotonic() > deadline:
                log = self._running().log.read_text(encoding="utf-8", errors="replace")
                raise ReaderFailed(
                    f"PC/SC programs do not see the virtual reader with card = {wanted}; "
                    f"a policy (polkit) may forbid it to this user: {log[-2000:]}"
                )
            time.sleep(_POLL_SECONDS)


def _card_column(environment: Mapping[str, str]) -> str | None:
    """Return the column `Card` of the first reader that `opensc-tool -l` lists."""
    listing = subprocess.run(
        ["opensc-tool", "--list-readers"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in listing.splitlines():
        words = line.split()
        if words and words[0] == "0":
            return words[1]
    return None


def _require_short(path: Path) -> None:
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ReaderFailed(f"{path} is too long for a Unix socket: choose a shorter TMPDIR")


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()  # the runner ends with its standard input
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # unshare's --kill-child ends the whole process namespace
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
