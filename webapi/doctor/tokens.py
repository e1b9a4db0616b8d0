"""One zone's tokens, looked at in a process of its own.

A PKCS#11 module is somebody else's code in our process: it may hang, or take the process down. So
`python -m webapi.doctor.look` looks and writes each result as a line of JSON; whoever
asked ends it when the time is over, which also frees the locks that it held.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from webapi.config import CONFIG_VARIABLE
from webapi.doctor.zone import BROKEN, result_names
from webapi.operations.checks import Check, CheckBroken, CheckResult, no_answer
from webapi.settings_tokens import Zone

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
        (sys.executable, "-m", "webapi.doctor.look", zone, str(os.getpid())),
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
                if BROKEN in members:
                    raise CheckBroken(f"the check ended in {members[BROKEN]}")
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
