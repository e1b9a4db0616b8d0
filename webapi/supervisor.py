"""Keeps the service's processes running: starts them, starts them again, replaces, stops them.

In production each role is a unit of its own, with a supervisor of one; here one parent starts
them, and none outlives it, not even when the parent is killed.
"""

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

import structlog

from webapi.role_process import STOP_SECONDS, Role, RoleProcess, set_process_option, stop_all

_log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""What ran for so long has recovered: its next end is a first one again."""

FIRST_ATTEMPTS = 3
"""How often something that never came up is started before the supervisor gives up."""

SUCCESSOR_SECONDS = 60.0
"""How long a successor may take to come up; until then the old process serves."""

_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PR_SET_DUMPABLE = 4  # prctl(2)

Plan = Callable[[], Sequence[Role]]
"""Reads and checks the configuration; which roles it asks for. Raises PlanRefused."""


class NeverCameUp(Exception):
    """At the first start a process ended again and again before it once came up."""


class PlanRefused(Exception):
    """The configuration cannot be used.

    Attributes:
        findings: what is wrong, for people; holds no secret.
    """

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__("; ".join(findings))
        self.findings = tuple(findings)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when its parent ends, in whatever way.

    Args:
        parent: the parent's process id, as whoever started this process knew it.

    Raises:
        SystemExit: the parent has ended already.
        OSError: the kernel refused.
    """
    set_process_option(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have ended while this process was still being made.
    if os.getppid() != parent:
        raise SystemExit("the process that started this one has ended")


def protect_memory() -> None:
    """Leave no core file with a PIN in it, and let no other process read this one.

    Raises:
        OSError: the kernel refused.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    set_process_option(_PR_SET_DUMPABLE, 0)


def role_command(role: str) -> tuple[str, ...]:
    """The command line of one role of this service, which ends with this process."""
    return (sys.executable, "-m", "webapi.roles", role, str(os.getpid()))


@dataclass(slots=True)
class _Slot:
    """A role's place: who fills it, and who is to come.

    Attributes:
        is_starting: it is of the first plan and has never come up. Only then does a failure end
            the whole service: later that would stop what others are using.
        told_up: the process that the log has said is up.
        due: when a process is started again, and `gone_by` when a leaving one is ended by force.
    """

    role: Role
    is_starting: bool = False
    current: RoleProcess | None = None
    successor: RoleProcess | None = None
    leaving: RoleProcess | None = None
    told_up: RoleProcess | None = None
    due: float = 0.0
    gone_by: float = 0.0
    failures: int = 0

    def processes(self) -> Iterator[RoleProcess]:
        for process in (self.current, self.successor, self.leaving):
            if process is not None:
                yield process


@dataclass(slots=True)
class Supervisor:
    """Runs the roles of a plan until it is told to stop.

    Attributes:
        plan: asked at the start and at each reload.
        stopwatch: monotonic seconds.
    """

    plan: Plan
    stopwatch: Callable[[], float] = time.monotonic
    _slots: dict[str, _Slot] = field(default_factory=dict, init=False)
    _retiring: list[tuple[RoleProcess, float]] = field(default_factory=list, init=False)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then stop every process and return; reload on SIGHUP.

        A SIGHUP because the terminal was closed stops, too.

        Raises:
            PlanRefused: at the start, the configuration cannot be used.
            NeverCameUp: a role of the first plan cannot be started.
            OSError: the first process of such a role could not be made.
        """
        had_terminal = _has_terminal()
        with _received_signals() as received:
            try:
                self._slots = {role.name: _Slot(role, is_starting=True) for role in self.plan()}
                while not received & {signal.SIGTERM, signal.SIGINT}:
                    if signal.SIGHUP in received:
                        received.discard(signal.SIGHUP)
                        if had_terminal and not _has_terminal():
                            break
                        self.reload()
                    self.look_after_all()
                    time.sleep(_POLL_SECONDS)
            finally:
                self.stop()

    def reload(self) -> None:
        """Read the configuration; with a good one replace every process, else change nothing."""
        try:
            roles = {role.name: role for role in self.plan()}
        except PlanRefused as refusal:
            _log.error("reload_refused", findings=refusal.findings)
            return
        _log.info("reload", roles=list(roles))
        for name in self._slots.keys() - roles.keys():
            for process in self._slots.pop(name).processes():
                self._retire(process)
        for name, role in roles.items():
            self._renew(self._slots.setdefault(name, _Slot(role)), role)

    def look_after_all(self) -> None:
        """Start what is missing, replace what is to be replaced, end what takes too long.

        Raises:
            NeverCameUp: a role of the first plan cannot be started.
            OSError: the first process of such a role could not be made.
        """
        for slot in self._slots.values():
            self._promote_successor(slot)
            self._look_after(slot)
        at = self.stopwatch()
        for process, deadline in list(self._retiring):
            if process.has_ended() or at >= deadline:
                self._retiring.remove((process, deadline))
                _log.info("role_stopped", role=process.role.name, exit_code=process.finish())

    def stop(self) -> None:
        """End every process, politely first."""
        running = [process for slot in self._slots.values() for process in slot.processes()]
        running += [process for process, _ in self._retiring]
        stop_all([process.process for process in running])
        ended = [(process.role.name, process.finish()) for process in running]
        with contextlib.suppress(OSError):  # the log's terminal may be what was closed
            for role, exit_code in ended:
                _log.info("role_stopped", role=role, exit_code=exit_code)
        self._slots.clear()
        self._retiring.clear()

    def _renew(self, slot: _Slot, role: Role) -> None:
        slot.role = role
        if slot.successor is not None:
            self._retire(slot.successor)
            slot.successor = None
        if slot.current is None:
            slot.due = self.stopwatch()
        elif role.beside:
            self._start_successor(slot)
        else:
            slot.leaving, slot.current = slot.current, None
            slot.leaving.process.terminate()
            slot.due = self.stopwatch()
            slot.gone_by = slot.due + STOP_SECONDS

    def _start_successor(self, slot: _Slot) -> None:
        try:
            slot.successor = self._start(slot.role)
        except OSError as error:
            # No process to be had now: the old one goes on.
            _log.error("reload_failed", role=slot.role.name, **_described(error))

    def _promote_successor(self, slot: _Slot) -> None:
        successor = slot.successor
        if successor is None:
            return
        # Looked at first, as what has come up and ended at once follows nobody.
        has_ended = successor.has_ended()
        if successor.is_up() and not has_ended:
            slot.successor = None
            replaced, slot.current = slot.current, successor
            # Said before the old one is told: whom it turns away comes after this.
            _log.info("role_replaced", role=slot.role.name)
            if replaced is not None:
                self._retire(replaced)
        elif has_ended or self.stopwatch() - successor.started >= SUCCESSOR_SECONDS:
            slot.successor = None
            # The old process goes on: whoever wrote the configuration has to look.
            _log.error("reload_failed", role=slot.role.name, exit_code=successor.finish())

    def _look_after(self, slot: _Slot) -> None:
        at = self.stopwatch()
        if slot.leaving is not None:
            if not slot.leaving.has_ended() and at < slot.gone_by:
                return
            _log.info("role_stopped", role=slot.role.name, exit_code=slot.leaving.finish())
            slot.leaving = None
        current = slot.current
        if current is None:
            if at >= slot.due:
                self._fill(slot)
            return
        # Looked at first: what it reported before it ended is read after that.
        has_ended = current.has_ended()
        if current.is_up() and current is not slot.told_up:
            slot.is_starting, slot.told_up = False, current
            _log.info("role_up", role=slot.role.name, process_id=current.process.pid)
        if has_ended:
            slot.current = None
            self._note_failure(slot, {"exit_code": current.finish()})
        elif at - current.started >= STEADY_SECONDS:
            slot.failures = 0

    def _fill(self, slot: _Slot) -> None:
        try:
            slot.current = self._start(slot.role)
        except OSError as error:
            if slot.is_starting:
                raise
            # The machine is short of processes, memory or descriptors: that passes.
            self._note_failure(slot, _described(error))

    def _note_failure(self, slot: _Slot, how: Mapping[str, object]) -> None:
        slot.failures += 1
        if slot.is_starting and slot.failures >= FIRST_ATTEMPTS:
            raise NeverCameUp(
                f"{slot.role.name} ended with {how['exit_code']} and never came up, "
                f"{slot.failures} times in a row; its log says why"
            )
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(slot.failures - 1, 16), LONGEST_PAUSE_SECONDS)
        slot.due = self.stopwatch() + pause
        _log.error(
            "role_ended",
            role=slot.role.name,
            failures=slot.failures,
            pause_seconds=pause,
            **how,
        )

    def _start(self, role: Role) -> RoleProcess:
        process = RoleProcess(role, at=self.stopwatch())
        _log.info("role_started", role=role.name, process_id=process.process.pid)
        return process

    def _retire(self, process: RoleProcess) -> None:
        """Ask a process to end; it is looked after until it has."""
        process.process.terminate()
        self._retiring.append((process, self.stopwatch() + STOP_SECONDS))


def _described(error: OSError) -> dict[str, object]:
    return {"error_class": type(error).__qualname__, "error": os.strerror(error.errno or 0)}


def _has_terminal() -> bool:
    """Whether a person's terminal controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _received_signals() -> Iterator[set[int]]:
    """A set that is empty until SIGTERM, SIGINT or SIGHUP arrives."""
    received: set[int] = set()

    def note(number: int, _frame: FrameType | None) -> None:
        received.add(number)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
