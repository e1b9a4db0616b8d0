"""Finds processes by what stands in their command line or environment."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def processes_naming(text: str) -> list[str]:
    """Command lines of the running processes that name this text."""
    return [line for _, line in numbered_processes(text)]


def numbered_processes(text: str) -> list[tuple[int, str]]:
    """Process ids and command lines of the running processes that name this text."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in command or text.encode() in environment:
            line = command.replace(b"\0", b" ").decode(errors="replace")
            found.append((int(entry.name), line))
    return found


def leads_its_group(process: int) -> bool:
    """Whether a process leads a group of its own; one that has ended meanwhile leads none."""
    try:
        return os.getpgid(process) == process
    except ProcessLookupError:
        return False


@contextmanager
def standing_still(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """A process that this one started does nothing, in any of its threads, until the block ends."""
    process.send_signal(signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def assert_none_left(text: str, seconds: float = 30.0) -> None:
    """Processes end in a moment, or the test fails with their command lines."""
    deadline = time.monotonic() + seconds
    while processes_naming(text):
        assert time.monotonic() < deadline, processes_naming(text)
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now, and that no other process of tests is given.

    They are below those that the kernel gives away: one of these could be a client's by the time
    that it is listened on.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1_000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if _keep(port):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no port is free")


def _keep(port: int) -> bool:
    """Keep a port for this process until it ends; False if it was given to somebody already.

    Parts of the suite run side by side, and a minute may pass until a port is listened on: without
    a word two services would share one (SO_REUSEPORT), and each get half of the other's requests.
    The mark is a socket's abstract name, which needs no file and ends with the process.
    """
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0tamga-tests-port-{port}")
    except OSError:
        mark.close()
        return False
    mark.detach()  # to stay open, whoever forgets it
    return True


def children(process: int) -> list[int]:
    """The processes that a process's first thread started and that still run."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in text.split()]
