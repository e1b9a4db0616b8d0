"""`make bench`: takes every measurement, prints a table, writes var/bench.json."""

import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from bench import (
    log_growth,
    login_verify,
    ocsp_responder,
    receipt_verify,
    receipts,
    sign,
    sign_modules,
)

OUTPUT = Path("var/bench.json")
LOG_WIDTH = 160


def machine() -> str:
    """What the figures were taken on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def main() -> None:
    """Measure, print, write."""
    # Where a log is written there is no terminal whose width would count.
    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    found = [
        row
        for measurement in track(
            (
                login_verify,
                receipt_verify,
                log_growth,
                sign,
                sign_modules,
                ocsp_responder,
                receipts,
            ),
            "measuring",
            console=console,
        )
        for row in measurement.rows()
    ]
    table = Table(
        Column("name", no_wrap=True), "value", "unit", "reference", "ratio", "target", "ok"
    )
    for row in found:
        mark = "yes" if row.ok else "no"
        table.add_row(
            row.name,
            f"{row.value:g}",
            row.unit,
            f"{row.reference:g}",
            f"{row.ratio:g}",
            row.target,
            mark,
        )
    console.print(table)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    lines = [{**asdict(row), "machine": machine()} for row in found]
    OUTPUT.write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {OUTPUT}")


if __name__ == "__main__":
    main()
