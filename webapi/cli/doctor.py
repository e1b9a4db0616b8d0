"""`tamga doctor`: what is missing or wrong, in plain words, and how to mend it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from webapi import clock
from webapi.operations.checks import CheckResult, CheckState

FAILED, UNREADABLE = 1, 2
DEFAULT_LIMIT_SECONDS = 15.0
_CONFIGURATION = "configuration"
_MARKS = {
    CheckState.OK: ("ok", "green"),
    CheckState.WARNING: ("warning", "yellow"),
    CheckState.FAILED: ("FAILED", "bold red"),
    CheckState.SKIPPED: ("skipped", "dim"),
}
_INDENT = " " * 9


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--card", is_flag=True, help="A missing reader or card is a failure.")
@click.option(
    "--limit",
    "limit_seconds",
    type=click.FloatRange(0, 600, min_open=True),
    default=DEFAULT_LIMIT_SECONDS,
    show_default=True,
    help="Seconds that one check may take.",
)
@click.pass_obj
def doctor(config: Path, *, as_json: bool, card: bool, limit_seconds: float) -> None:
    """Say what is missing or wrong, and how to mend it; changes and signs nothing.

    Run it as the service's user. Exit code 0: all is well, perhaps with warnings; 1: something
    failed; 2: the configuration cannot be used.
    """
    results = _results(config, card=card, limit=timedelta(seconds=limit_seconds))
    shown = _shown_as_json(results) if as_json else _shown(results)
    failed = {result.name for result in shown if result.state is CheckState.FAILED}
    if failed:
        raise SystemExit(UNREADABLE if _CONFIGURATION in failed else FAILED)


def _results(config: Path, *, card: bool, limit: timedelta) -> Iterator[CheckResult]:
    try:
        from webapi.doctor.installation import (  # noqa: PLC0415 - what cannot be loaded is told
            Examination,
            examine,
        )
    except ImportError as e:
        remedy = "Install Tamga with its dependencies `service`, as `make setup` does."
        yield CheckResult.failed("packages", f"{e.name} cannot be loaded", remedy)
        return
    yield from examine(Examination(config, clock.now(), limit, card_required=card))


def _shown_as_json(results: Iterable[CheckResult]) -> list[CheckResult]:
    every = list(results)
    ok = all(result.state is not CheckState.FAILED for result in every)
    document = {"ok": ok, "checks": [result.members() for result in every]}
    click.echo(json.dumps(document, ensure_ascii=False))
    return every


def _shown(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Print each as it comes: a check that takes its time does not hide the others."""
    console = Console(highlight=False, soft_wrap=True)
    every = []
    for result in results:
        every.append(result)
        mark, style = _MARKS[result.state]
        line = Text.assemble((f"{mark:<9}", style), (result.name, "bold"), f"  {result.seen}")
        console.print(line)
        if result.table:
            console.print(Padding(_as_table(result.table), (0, 0, 0, len(_INDENT))))
        if result.remedy:
            console.print(Text(f"{_INDENT}-> {result.remedy}"))
    counts = {state: sum(result.state is state for result in every) for state in CheckState}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    console.print(Text(f"\n{told}"))
    return every


def _as_table(rows: Sequence[Mapping[str, str]]) -> Table:
    table = Table(*rows[0], box=None, header_style="dim", pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
    return table
