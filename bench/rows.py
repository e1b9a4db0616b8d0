"""What a measurement is, and how it is taken."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MIN_SECONDS = 0.3
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `var/bench.json`.

    Attributes:
        name: as in the design's table of targets.
        value: what was measured, in `unit`.
        unit: of value and reference.
        reference: the same for the named reference, in the same run.
        ratio: value / reference.
        target: in words.
        ok: whether the target is met.
    """

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    target: str
    ok: bool


def seconds_each(*operations: Callable[[], object]) -> tuple[float, ...]:
    """Seconds per call of each operation: the best of several rounds, taken in turn.

    Taking turns lets a machine that slows down slow all of them alike.
    """
    counts = [_calls_for(operation) for operation in operations]
    best = [float("inf")] * len(operations)
    for _ in range(ROUNDS):
        for index, operation in enumerate(operations):
            started = time.perf_counter()
            for _ in range(counts[index]):
                operation()
            best[index] = min(best[index], (time.perf_counter() - started) / counts[index])
    return tuple(best)


def _calls_for(operation: Callable[[], object]) -> int:
    started = time.perf_counter()
    operation()
    once = max(time.perf_counter() - started, 1e-7)
    return max(3, int(MIN_SECONDS / ROUNDS / once))
