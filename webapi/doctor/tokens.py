"""One zone's tokens, looked at in a process of its own.

A PKCS#11 module is somebody else's code in our process: it may hang, or take the process down. So
`python -m webapi.doctor.tokens` looks and writes each result as a line of JSON; whoever
asked ends it when the time is over, which also frees the locks that it held.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TextIO, cast, get_args

from webapi.config import CONFIG_VARIABLE, load_settings
from webapi.doctor.zone import look_at_zone, result_names
from webapi.operations.checks import Check, CheckBroken, CheckResult, no_answer
from webapi.settings_tokens import Zone
from webapi.supervisor import die_with_parent, protect_memory
from webapi.wiring import Wiring

_BROKEN = "broken"
"""The member that names the class of an exception which nobody foresaw."""

_GRACE = timedelta(seconds=5)


def zone_check(zone: Zone, config: Path, limit: timedelta, *, tokens: int) -> Check:
    """The check of a zone's tokens.

    Args:
        zone: which.
        config: the configuration file.
        limit: when the process that looks is ended.
        tokens: how many the zone has.
    """
    return Check(
        names=result_names(zone, tokens),
        look=lambda: _look_from_outside(zone, config, limit),
        limit=limit + _GRACE,
        remedy_if_broken=(
            "Look whether the device answers its own tool, and whether another process of the "
            "service hangs; a slow device may need --limit."
        ),
    )


def _look_from_outside(zone: Zone, config: Path, limit: timedelta) -> Iterator[CheckResult]:
    ended = threading.Event()
    with subprocess.Popen(
        (sys.executable, "-m", __name__, zone, str(os.getpid())),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, CONFIG_VARIABLE: str(config)},
    ) as process:

        def end() -> None:
            ended.set()
            process.kill()

        watchdog = threading.Timer(limit.total_seconds(), end)
        watchdog.daemon = True
        watchdog.start()
        try:
            # Of a process with a pipe for its output; the annotation allows for none.
            for line in process.stdout or ():
                members = json.loads(line)
                if _BROKEN in members:
                    raise CheckBroken(f"the check ended in {members[_BROKEN]}")
                yield CheckResult.of_members(members)
        finally:
            watchdog.cancel()
    if ended.is_set():
        raise no_answer(limit)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise CheckBroken(f"the process that looked was ended by {name}")
    if process.returncode > 0:
        raise CheckBroken("the process that looked could not begin")


def main(arguments: list[str]) -> None:
    """Look at the zone that is named; the second argument is the parent's process id.

    The configuration's path is in TAMGA_CONFIG.
    """
    zone, *parent = arguments or [""]
    if zone not in get_args(Zone) or len(parent) != 1 or not parent[0].isdecimal():
        raise SystemExit("usage: python -m webapi.doctor.tokens login|receipts|pki PARENT")
    die_with_parent(int(parent[0]))
    protect_memory()
    # What a module prints goes elsewhere.
    report = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with report:
        try:
            _report_zone(cast("Zone", zone), report)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is told by its class
            print(json.dumps({_BROKEN: type(e).__qualname__}), file=report)


def _report_zone(zone: Zone, report: TextIO) -> None:
    settings = load_settings(Path(os.environ[CONFIG_VARIABLE]), os.environ)
    with closing(Wiring(settings)) as wiring:
        for result in look_at_zone(wiring, zone):
            print(json.dumps(result.members()), file=report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
