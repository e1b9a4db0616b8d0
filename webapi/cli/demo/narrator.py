"""Tells each step while it runs, with its time, and keeps what the summary needs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console


class DemoFailed(Exception):
    """A step did not go as it must.

    Attributes:
        next_step: what the reader can do about it.
    """

    def __init__(self, reason: str, next_step: str) -> None:
        super().__init__(reason)
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step went.

    Attributes:
        name: the step's name.
        ok: whether it did what it must.
        seconds: how long it took.
    """

    name: str
    ok: bool
    seconds: float


@dataclass(slots=True)
class Narrator:
    """Prints steps and facts.

    Attributes:
        console: where to.
        steps: how each step went, in order.
    """

    console: Console
    steps: list[StepResult] = field(default_factory=list)

    @contextmanager
    def step(self, name: str, explanation: str) -> Iterator[None]:
        """Announce a step, time it, and say how it ended."""
        number = len(self.steps) + 1
        self.console.print(f"\n[bold]{number:>2}  {name}[/bold]  [dim]{explanation}[/dim]")
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self._ended(name, ok=False, started=started)
            raise
        self._ended(name, ok=True, started=started)

    def fact(self, name: str, value: object) -> None:
        """Show one thing that was observed."""
        self.console.print(f"      [cyan]{name:<14}[/cyan] {value}", highlight=False)

    def _ended(self, name: str, *, ok: bool, started: float) -> None:
        seconds = time.monotonic() - started
        self.steps.append(StepResult(name, ok, round(seconds, 3)))
        mark = "[green]done[/green]" if ok else "[red]failed[/red]"
        self.console.print(f"      {mark} in {seconds:.2f} s", highlight=False)
