"""Sends prepared requests over plain HTTP from a process of its own, and waits for each answer.

A connection stays open for as long as the server lets it; where the server closes it, another is
opened, as a client would. One thread and one `select` serve all connections.
"""

import multiprocessing
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

DEADLINE_SECONDS = 120.0
BUFFER = 1 << 16
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class PlainTarget:
    """Where requests go.

    Attributes:
        port: on loopback.
        connections: how many are used at once.
    """

    port: int
    connections: int


@dataclass(frozen=True, slots=True)
class PlainOutcome:
    """What a run gave.

    Attributes:
        per_second: answers.
        opened: connections that were opened for them.
        refused: heads of answers other than 200.
        bodies: a few answers' bodies.
    """

    per_second: float
    opened: int
    refused: list[bytes]
    bodies: list[bytes] = field(repr=False)


@dataclass(slots=True)
class _Line:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    expected: int = 0


class _Generator:
    def __init__(self, target: PlainTarget, requests: Sequence[bytes], count: int) -> None:
        self._target = target
        self._requests = requests
        self._count = count
        self._sent = self._answered = self._opened = 0
        self._refused: list[bytes] = []
        self._bodies: list[bytes] = []
        self._selector = selectors.DefaultSelector()

    def run(self) -> PlainOutcome:
        began = time.monotonic()
        for _ in range(self._target.connections):
            self._open()
        while self._answered < self._count:
            if time.monotonic() > began + DEADLINE_SECONDS:
                raise TimeoutError(f"{self._count - self._answered} have no answer")
            for key, _ in self._selector.select(1.0):
                self._receive(key.data)
        return PlainOutcome(
            self._count / (time.monotonic() - began), self._opened, self._refused, self._bodies
        )

    def _open(self) -> None:
        self._opened += 1
        connection = socket.create_connection(("127.0.0.1", self._target.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line = _Line(connection)
        self._selector.register(connection, selectors.EVENT_READ, line)
        self._send_on(line)

    def _send_on(self, line: _Line) -> None:
        if self._sent < self._count:
            request = self._requests[self._sent % len(self._requests)]
            self._sent += 1
            line.socket.sendall(request)

    def _receive(self, line: _Line) -> None:
        data = line.socket.recv(BUFFER)
        line.received += data
        if not line.expected:
            end = line.received.find(END_OF_HEAD)
            if end >= 0:
                line.expected = _whole(line.received, end)
        is_whole = 0 < line.expected <= len(line.received) or not data
        if is_whole:
            self._note(line)
        if not data or (is_whole and line.received.startswith(b"HTTP/1.0")):
            self._selector.unregister(line.socket)
            line.socket.close()
            if self._sent < self._count:
                self._open()
        elif is_whole:
            line.received.clear()
            line.expected = 0
            self._send_on(line)

    def _note(self, line: _Line) -> None:
        head, _, body = bytes(line.received).partition(END_OF_HEAD)
        if not body:
            raise ConnectionError("the server closed a connection without an answer")
        self._answered += 1
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            self._refused.append(head)
        elif len(self._bodies) < 10:
            self._bodies.append(body)


def _whole(received: bytearray, end: int) -> int:
    """How long the answer is; without Content-Length it ends with the connection."""
    for line in bytes(received[:end]).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return end + len(END_OF_HEAD) + int(line.partition(b":")[2])
    return 1 << 62


def run_plain_load(target: PlainTarget, requests: Sequence[bytes], count: int) -> PlainOutcome:
    """Send requests by turns, so many in all, from another process.

    Args:
        target: the server.
        requests: whole HTTP requests.
        count: how many are sent.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs,))
    process.start()
    ours.send((target, list(requests), count))
    theirs.close()  # so that a generator that ends without an answer is noticed
    outcome: PlainOutcome = ours.recv()
    process.join()
    return outcome


def _run(pipe: "Connection[Any, Any]") -> None:
    target, requests, count = pipe.recv()
    pipe.send(_Generator(target, requests, count).run())
