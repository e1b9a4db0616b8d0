"""Sends prepared requests over plain HTTP by a small C program (plain_load.c), each to its answer.

On two cores the generator runs beside what it measures, so it must cost little: one in Python took
as long for a request as the server, and what was measured were both.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bench.compiled import compiled

DEADLINE_SECONDS = 120.0
END_OF_HEAD = b"\r\n\r\n"
_NUMBER_BYTES = 4


@dataclass(frozen=True, slots=True)
class PlainTarget:
    """Where requests go.

    Attributes:
        port: on loopback.
        connections: how many are used at once.
        keeps: whether a connection stays open for as long as the server lets it; else each is
            closed after one answer.
    """

    port: int
    connections: int
    keeps: bool


@dataclass(frozen=True, slots=True)
class PlainOutcome:
    """What a run gave.

    Attributes:
        per_second: answers.
        processor_share: of its time that the generator used a core.
        opened: connections that were opened for them.
        refused: heads of answers other than 200, a few if there are many.
        bodies: a few answers' bodies.
    """

    per_second: float
    processor_share: float
    opened: int
    refused: list[bytes]
    bodies: list[bytes] = field(repr=False)


def run_plain_load(target: PlainTarget, requests: Sequence[bytes], count: int) -> PlainOutcome:
    """Send requests by turns, so many in all.

    Args:
        target: the server.
        requests: whole HTTP requests.
        count: how many are sent.
    """
    keeps = "keep" if target.keeps else "close"
    done = subprocess.run(
        [str(_program()), str(target.port), str(target.connections), str(count), keeps],
        input=_number(len(requests)) + b"".join(_number(len(r)) + r for r in requests),
        stdout=subprocess.PIPE,
        check=True,
        timeout=DEADLINE_SECONDS,
    )
    figures, _, kept = done.stdout.partition(b"\n")
    seconds, processor_seconds, opened, _ = figures.split()
    answers = [answer.partition(END_OF_HEAD) for answer in _kept(kept)]
    return PlainOutcome(
        per_second=count / float(seconds),
        processor_share=float(processor_seconds) / float(seconds),
        opened=int(opened),
        refused=[head for head, _, _ in answers if not _is_ok(head)],
        bodies=[body for head, _, body in answers if _is_ok(head)],
    )


def _is_ok(head: bytes) -> bool:
    return b" 200 " in head.split(b"\r\n", 1)[0]


def _number(value: int) -> bytes:
    return value.to_bytes(_NUMBER_BYTES)


def _kept(told: bytes) -> Iterator[bytes]:
    while told:
        size = int.from_bytes(told[:_NUMBER_BYTES])
        yield told[_NUMBER_BYTES : _NUMBER_BYTES + size]
        told = told[_NUMBER_BYTES + size :]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Goes with this process."""
    return tempfile.TemporaryDirectory(prefix="tamga-bench-load-")


@cache
def _program() -> Path:
    return compiled("plain_load", Path(_folder().name))
