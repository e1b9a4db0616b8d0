"""A whole service of real processes that is killed again and again, and how much it takes up."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import assert_none_left
from webapi.cli.home import Home

START_SECONDS = 120.0
SAMPLE_SECONDS = 5.0
SUPERVISOR = "supervisor"
_ESTABLISHED = "01"


@dataclass(frozen=True)
class Running:
    """A process.

    Attributes:
        pid: its number.
        part: `supervisor`, a role, a role's `… child`, or another server's name.
        started: its start time, which with the number makes it unique.
    """

    pid: int
    part: str
    started: int


@dataclass(frozen=True)
class Sample:
    """What one process holds at one moment.

    Attributes:
        descriptors: open ones, without the connections that clients keep to it: how many these
            are is theirs to say.
    """

    at: float
    process: Running
    resident_kib: int
    descriptors: int


class Service:
    """`tamga serve`, kept alive as an init system keeps it."""

    def __init__(self, home: Home, environment: Mapping[str, str], ports: Sequence[int]) -> None:
        self.home = home
        self.ports = ports
        self._environment = dict(environment)
        self._stopping = threading.Event()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._keeper = threading.Thread(target=self._keep_alive)

    def start(self) -> None:
        self._launch()
        self._keeper.start()

    def stop(self) -> None:
        """Stop it as an operator does, and see that nothing is left."""
        self._stopping.set()
        self._keeper.join()
        assert self._supervisor is not None
        self._supervisor.terminate()
        assert self._supervisor.wait(30) == 0
        assert_none_left(str(self.home.directory))

    def processes(self) -> list[Running]:
        """Every process of the service that runs now."""
        assert self._supervisor is not None
        return _tree(self._supervisor.pid)

    def log(self) -> str:
        return (self.home.directory / "serve.log").read_text()

    def _launch(self) -> None:
        with (self.home.directory / "serve.log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "webapi.cli", "--config", str(self.home.config), "serve"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    def _keep_alive(self) -> None:
        while not self._stopping.wait(0.2):
            assert self._supervisor is not None
            if self._supervisor.poll() is not None:
                self._launch()


@dataclass
class Killer:
    """Sends SIGKILL to a random process, at a steady pace.

    Attributes:
        targets: the processes that may be killed now.
        every_seconds: between two of them.
        seed: decides which.
        killed: how many of each part were.
    """

    targets: Callable[[], list[Running]]
    every_seconds: float
    seed: int
    killed: Counter[str] = field(default_factory=Counter)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self.every_seconds):
            # Each part is as likely, however many processes it has.
            processes = self.targets()
            parts = sorted({process.part for process in processes})
            if not parts:
                continue
            part = self._random.choice(parts)
            victim = self._random.choice([p for p in processes if p.part == part])
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.killed[part] += 1


@dataclass
class Gauge:
    """Notes memory and open descriptors of every process, at a steady pace."""

    service: Service
    samples: list[Sample] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(SAMPLE_SECONDS):
            accepted = _accepted_connections(self.service.ports)
            for process in self.service.processes():
                sample = _sample(process, time.monotonic() - began, accepted)
                if sample is not None:
                    self.samples.append(sample)


def _tree(root: int) -> list[Running]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (facts := _stat(int(entry.name))) is not None:
            parents[int(entry.name)] = facts[0]
    found = []
    for pid in parents:
        chain = [pid]
        while chain[-1] != root and chain[-1] in parents:
            chain.append(parents[chain[-1]])
        part = _part(chain) if chain[-1] == root else None
        facts = _stat(pid)
        if part is not None and facts is not None:
            found.append(Running(pid, part, facts[1]))
    return found


def children_of(pid: int, part: str) -> list[Running]:
    """The processes that another one started, under one name."""
    found = []
    for entry in Path("/proc").iterdir():
        facts = _stat(int(entry.name)) if entry.name.isdigit() else None
        if facts is not None and facts[0] == pid:
            found.append(Running(int(entry.name), part, facts[1]))
    return found


def _part(chain: list[int]) -> str | None:
    """The part of the first process of a chain that leads up to the supervisor."""
    if len(chain) == 1:
        return SUPERVISOR
    role = re.search(r"webapi\.roles\0(\w+)", _command(chain[-2]))
    if role is None or "resource_tracker" in _command(chain[0]):
        return None
    return role[1] if len(chain) == 2 else f"{role[1]} child"


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and start time; None for one that has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else (int(fields[1]), int(fields[19]))


def _sample(process: Running, at: float, accepted: frozenset[str]) -> Sample | None:
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        # One that was closed since it was listed names nothing.
        open_now = [_target(entry) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
    except OSError:
        return None
    resident = re.search(r"VmRSS:\s+(\d+) kB", status)
    if resident is None:  # it has just ended
        return None
    descriptors = sum(target is not None and target not in accepted for target in open_now)
    return Sample(at, process, int(resident[1]), descriptors)


def _target(descriptor: Path) -> str | None:
    try:
        return str(descriptor.readlink())
    except OSError:
        return None


def _accepted_connections(ports: Sequence[int]) -> frozenset[str]:
    """What descriptors of established connections to these local ports name (proc(5))."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _ESTABLISHED and int(fields[1].rpartition(":")[2], 16) in ports:
                found.add(f"socket:[{fields[9]}]")
    return frozenset(found)
