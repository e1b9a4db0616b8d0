"""Ports for services of tests: none is given to two processes of tests."""

import os
import random
import subprocess
import sys

import pytest

from tests.support.processes import free_ports

_FIRST = 10_000 + os.getpid() % 90 * 100
CANDIDATES = range(_FIRST, _FIRST + 100)
"""Below those that are given out otherwise, and others in each run of the suite."""

ANOTHER_PROCESS = f"""
import random, sys
from tests.support import processes
random.sample = lambda *_: range({CANDIDATES.start}, {CANDIDATES.stop})
print(*processes.free_ports(2), flush=True)
sys.stdin.read()
"""


def test_what_another_process_was_given_is_given_to_nobody_until_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "sample", lambda *_: CANDIDATES)
    with subprocess.Popen(
        [sys.executable, "-c", ANOTHER_PROCESS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        given = {int(text) for text in other.stdout.readline().split()}
        assert len(given) == 2
        # Nobody listens on them.
        assert not given & set(free_ports(2))
    assert given == set(free_ports(2))
