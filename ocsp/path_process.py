"""Judges paths in a process that can be ended: the library has no bound of its own.

Name constraints and policies multiply; a thread that computes cannot be stopped, a process can. It
is started from nothing (no fork, so no lock or token session is inherited), gets one path at a
time, and is ended when a judgement is late. The next question starts another.
"""

import os
import select
import subprocess
import sys
import threading
import time

from ocsp.path_judging import Finding, PathQuestion, PathVerdict
from ocsp.path_message import MAX_LINE_BYTES, READY, question_text, verdict_of

START_SECONDS = 20.0
"""Longest time from starting a worker to its first line; its imports take half a second."""

_COMMAND = (sys.executable, "-P", "-m", "ocsp.path_worker")  # -P: nothing of the working folder


class _Late(Exception):
    """The worker said nothing in time."""


class JudgeProcess:
    """A `PathJudge` in a process of its own.

    Threads wait for each other: the work is pure computation.
    """

    def __init__(
        self, command: tuple[str, ...] = _COMMAND, *, start_seconds: float = START_SECONDS
    ) -> None:
        self._command = command
        self._start_seconds = start_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._is_ready = False

    def start(self) -> None:
        """Start the worker without waiting for it, so that the first question finds it ready."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """End the worker; a later question starts another."""
        with self._lock:
            self._end()

    def __call__(self, question: PathQuestion, seconds: float) -> PathVerdict:
        """As `judge_path`; UNDECIDED if it takes longer than `seconds` or breaks the worker."""
        if not self._lock.acquire(timeout=seconds):
            return PathVerdict(Finding.UNDECIDED, "the path engine is busy")
        try:
            return self._ask(question, seconds)
        except _Late:
            self._end()
            return PathVerdict(Finding.UNDECIDED, "the path engine was ended: it took too long")
        except (OSError, ValueError, KeyError) as e:
            self._end()
            return PathVerdict(Finding.UNDECIDED, f"the path engine broke: {type(e).__name__}")
        finally:
            self._lock.release()

    def _ask(self, question: PathQuestion, seconds: float) -> PathVerdict:
        process = self._running()
        if not self._is_ready:
            if _read_line(process, self._start_seconds) != READY:
                raise ValueError("another first line")
            self._is_ready = True
        if process.stdin is None:
            raise ValueError("no pipe")
        text = question_text(question, seconds)
        process.stdin.write(text.encode() + b"\n")
        process.stdin.flush()
        # A verdict names its question: one that was left in the pipe decides nothing.
        return verdict_of(_read_line(process, seconds), text)

    def _running(self) -> subprocess.Popen[bytes]:
        # After a fork the worker is the other process's: leave it alone.
        if self._process is None or self._owner != os.getpid():
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._owner = os.getpid()
            self._is_ready = False
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    # What was left to write is for nobody.
                    continue
        process.wait()


def _read_line(process: subprocess.Popen[bytes], seconds: float) -> str:
    """One line of the worker's output.

    Raises:
        _Late: it did not come in time.
        ValueError: the output ended, or the line is too long.
    """
    if process.stdout is None:
        raise ValueError("no pipe")
    end = time.monotonic() + seconds
    # select() takes no descriptor above 1023, and a busy service has more.
    waiting = select.poll()
    waiting.register(process.stdout, select.POLLIN)
    line = b""
    while not line.endswith(b"\n"):
        left = end - time.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            raise _Late
        chunk = os.read(process.stdout.fileno(), MAX_LINE_BYTES)
        if not chunk or len(line) > MAX_LINE_BYTES:
            raise ValueError("the worker's output ended")
        line += chunk
    return line.decode().rstrip("\n")
