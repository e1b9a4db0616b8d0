"""A wrong PIN, and every process that would try it at once: the token hears of it once."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.faults import DEADLINE_SECONDS, await_fact
from tests.support.home_database import often_on_sqlite
from tests.support.mischief import Mischief
from tests.support.processes import assert_none_left
from webapi.cli.home import Home

REFUSED = re.compile(r"the PIN (is|may be) wrong")
"""What an operator reads of PinIncorrect, whose login the token refused, and of PinLatched."""

pytestmark = often_on_sqlite


def with_one_token_and_a_wrong_pin(home: Home) -> dict[str, str]:
    """All zones on one token, so that all processes want the same login."""
    pin = home.hsm / "pins" / "wrong.pin"
    pin.touch(mode=0o600)
    pin.write_text("00000000\n")
    text = home.config.read_text()
    text = re.sub(r'token = "tamga-\w+"', 'token = "tamga-receipts"', text)
    text = re.sub(r'pin_file = ".*"', 'pin_file = "hsm/pins/wrong.pin"', text)
    home.config.write_text(text)
    return {
        **os.environ,
        "TAMGA_CONFIG": str(home.config),
        **Mischief(home.directory).environment,
    }


def commands(home: Home) -> dict[str, list[str]]:
    """The processes of a service, and a person who creates an election meanwhile."""
    create = ["webapi.cli", "election", "create", "log-a", "--title=T", "--domain=localhost"]
    create += ["--opens-at=2026-11-21T00:00:00Z", "--closes-at=2026-11-22T00:00:00Z"]
    create += [f"--system-key={home.election_public_key}"]
    return {
        "worker": ["webapi.roles", "worker"],
        "second worker": ["webapi.roles", "worker"],
        "ocsp": ["webapi.roles", "ocsp"],
        "command line": create,
    }


@contextmanager
def started(home: Home, environment: dict[str, str]) -> Iterator[dict[str, subprocess.Popen[str]]]:
    with ExitStack() as stack:
        processes = {}
        for name, arguments in commands(home).items():
            output = stack.enter_context(log_of(home, name).open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                process_group=0,
            )
            stack.callback(process.wait, DEADLINE_SECONDS)
            stack.callback(process.kill)
            processes[name] = process
        yield processes


def log_of(home: Home, name: str) -> Path:
    return home.directory / f"{name}.log"


def refusals(home: Home, name: str) -> list[str]:
    """How those refusals were told that ended processes, one each."""
    return REFUSED.findall(log_of(home, name).read_text())


def test_of_all_processes_together_one_tries_a_wrong_pin_once(home: Home) -> None:
    environment = with_one_token_and_a_wrong_pin(home)
    alone = ("worker", "second worker", "command line")
    with started(home, environment) as processes:
        for name in alone:
            assert processes[name].wait(DEADLINE_SECONDS) == 1, log_of(home, name).read_text()
        # granian starts its first worker anew in any case; whether it starts more or gives up
        # depends on how soon the second ends.
        await_fact(lambda: len(refusals(home, "ocsp")) >= 2)
    told = {name: refusals(home, name) for name in processes}
    assert [len(told[name]) for name in alone] == [1, 1, 1]
    # Any of them may be the first, also one of the responder's; all others asked the latch alone.
    of_all = sorted(one for each in told.values() for one in each)
    assert of_all == ["is", *["may be"] * (len(of_all) - 1)]
    calls = Mischief(home.directory).calls()
    assert calls["C_Login"] == 1
    assert calls["C_Sign"] == 0
    assert_none_left(str(home.directory))
