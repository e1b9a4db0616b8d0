"""The control socket of a running card: one JSON line asked, one JSON line answered."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from softhsm_config.errors import CardCommandRefused, ReaderFailed, SofthsmConfigError

Question = Mapping[str, Any]  # JSON from the other end of an owner-only socket
Answer = dict[str, Any]  # JSON, built by the handler
MAX_LINE = 65536


class ControlServer:
    """Serves a handler on a Unix socket, in a thread, until closed."""

    def __init__(self, path: Path, handle: Callable[[Question], Answer]) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                line = self.rfile.readline(MAX_LINE)
                self.wfile.write(_answer_line(line, handle))

        self._server = socketserver.UnixStreamServer(str(path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _answer_line(line: bytes, handle: Callable[[Question], Answer]) -> bytes:
    try:
        answer = handle(json.loads(line))
    except (SofthsmConfigError, ValueError, TypeError, KeyError, OSError) as e:
        answer = {"error": f"{type(e).__name__}: {e}"}
    return json.dumps(answer).encode() + b"\n"


def ask(path: Path, question: Question, *, timeout: float) -> Answer:
    """Ask the card at the other end of the control socket.

    Raises:
        CardCommandRefused: It answered with an error.
        ReaderFailed: Nobody answers.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(MAX_LINE)
    except OSError as e:
        raise ReaderFailed("the virtual reader does not answer: it has stopped") from e
    if not line:
        raise ReaderFailed("the virtual reader hung up")
    answer: Answer = json.loads(line)
    if "error" in answer:
        raise CardCommandRefused(answer["error"])
    return answer
