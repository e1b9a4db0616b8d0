"""Sends prepared requests over connections that stay open, from a process of its own.

One thread and one `select` serve all connections, and nothing is parsed that need not be: the
generator shares the machine with what it measures.
"""

import json
import multiprocessing
import selectors
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 120.0
BUFFER = 1 << 18
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Attributes:
        port: on localhost.
        root: PEM file of the certificate that is trusted.
        connections: how many stay open.
    """

    port: int
    root: Path
    connections: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is sent for one registration, made before the clock runs.

    Attributes:
        post: the whole HTTP request.
        fetch: the request for its receipt; that for a batch is `post` again.
    """

    post: bytes = field(repr=False)
    fetch: bytes = field(repr=False)


@dataclass(slots=True)
class Fetched:
    """What came of one registration.

    Attributes:
        body: the answer with the receipt, None until it came.
        seconds: from the sending of the first request to that answer.
        requests: how many were sent for it.
        refused: status of an answer that was neither 200 nor 202.
    """

    body: bytes | None = None
    seconds: float = 0.0
    requests: int = 0
    refused: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run gave.

    Attributes:
        seconds: from the first request to the last receipt.
        fetched: in the order of the ballots.
        processor_seconds: the generator's own.
    """

    seconds: float
    fetched: list[Fetched] = field(repr=False)
    processor_seconds: float


@dataclass(slots=True)
class _Line:
    """A connection and the request on it."""

    socket: ssl.SSLSocket
    ballot: int = -1
    received: bytearray = field(default_factory=bytearray)
    expected: int = 0


class _Generator:
    def __init__(
        self, target: Target, ballots: Sequence[Exchange], *, per_second: float, again: float
    ) -> None:
        self._ballots = ballots
        self._per_second = per_second
        self._again = again
        self._fetched = [Fetched() for _ in ballots]
        self._sent_at = [0.0] * len(ballots)
        self._next = 0
        self._left = len(ballots)
        self._to_fetch: deque[tuple[float, int]] = deque()
        self._selector = selectors.DefaultSelector()
        self._idle = deque(_Line(connect(target)) for _ in range(target.connections))
        for line in self._idle:
            # What comes first is the server's session tickets, behind which nothing follows yet.
            line.socket.setblocking(False)
            self._selector.register(line.socket, selectors.EVENT_READ, line)

    def run(self) -> Outcome:
        self._began = time.monotonic()
        processor = time.process_time()
        while self._left:
            if time.monotonic() > self._began + DEADLINE_SECONDS:
                raise TimeoutError(f"{self._left} of {len(self._ballots)} have no answer")
            pause = self._send_due()
            for key, _ in self._selector.select(pause):
                self._receive(key.data)
        seconds = time.monotonic() - self._began
        return Outcome(seconds, self._fetched, time.process_time() - processor)

    def _send_due(self) -> float:
        """Send what is due, receipts first; returns for how long nothing else will be."""
        while self._idle:
            now = time.monotonic()
            if self._to_fetch and self._to_fetch[0][0] <= now:
                _, ballot = self._to_fetch.popleft()
                self._send(ballot, self._ballots[ballot].fetch)
                continue
            if self._next == len(self._ballots):
                return max(0.0, self._to_fetch[0][0] - now) if self._to_fetch else 1.0
            due = self._began + self._next / self._per_second
            if due > now:
                fetch_due = self._to_fetch[0][0] if self._to_fetch else due
                return min(due, fetch_due) - now
            ballot, self._next = self._next, self._next + 1
            # By the plan: what a late generator adds to the wait counts as the service's.
            self._sent_at[ballot] = now if self._per_second == float("inf") else due
            self._send(ballot, self._ballots[ballot].post)
        return 1.0

    def _send(self, ballot: int, request: bytes) -> None:
        line = self._idle.popleft()
        line.ballot = ballot
        self._fetched[ballot].requests += 1
        line.socket.setblocking(True)
        line.socket.sendall(request)
        line.socket.setblocking(False)

    def _receive(self, line: _Line) -> None:
        try:
            while True:
                data = line.socket.recv(BUFFER)
                if not data:
                    raise ConnectionError("the service closed a connection")
                line.received += data
        except ssl.SSLWantReadError:
            pass
        if not line.expected:
            end = line.received.find(END_OF_HEAD)
            if end < 0:
                return
            line.expected = end + len(END_OF_HEAD) + _content_length(line.received[:end])
        if len(line.received) >= line.expected:
            self._answered(line)

    def _answered(self, line: _Line) -> None:
        now = time.monotonic()
        status, ballot = int(line.received[9:12]), line.ballot
        fetched = self._fetched[ballot]
        if status == 202:
            self._to_fetch.append((now + self._again, ballot))
        else:
            self._left -= 1
            fetched.seconds = now - self._sent_at[ballot]
            if status == 200:
                start = line.received.find(END_OF_HEAD) + len(END_OF_HEAD)
                fetched.body = bytes(line.received[start:])
            else:
                fetched.refused = status
        line.received.clear()
        line.expected = 0
        self._idle.append(line)


def connect(target: Target) -> ssl.SSLSocket:
    """A connection with its handshake done."""
    plain = socket.create_connection(("127.0.0.1", target.port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    context = ssl.create_default_context(cafile=str(target.root))
    return context.wrap_socket(plain, server_hostname="localhost")


def _content_length(head: bytes | bytearray) -> int:
    for line in bytes(head).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError("an answer without Content-Length")


def run_load(
    target: Target,
    ballots: Sequence[Exchange],
    *,
    per_second: float = float("inf"),
    again: float = 0.5,
) -> Outcome:
    """Send all ballots and fetch all receipts, from another process.

    Args:
        target: the service.
        ballots: prepared requests.
        per_second: how many ballots begin in a second; as many as the service takes, if infinite.
        again: seconds after which a receipt that was not ready is asked for again.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs,))
    process.start()
    ours.send((target, list(ballots), per_second, again))
    theirs.close()  # so that a generator that ends without an answer is noticed
    outcome: Outcome = ours.recv()
    process.join()
    return outcome


def _run(pipe: "Connection[Any, Any]") -> None:
    target, ballots, per_second, again = pipe.recv()
    pipe.send(_Generator(target, ballots, per_second=per_second, again=again).run())


def receipts_in(body: bytes) -> Iterator[bytes]:
    """The receipts of an answer to one ballot or to a batch."""
    answer = json.loads(body)
    for item in answer.get("ballots", [answer]):
        yield item["receipt"].encode()
