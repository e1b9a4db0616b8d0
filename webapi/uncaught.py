"""What ends a process or one of its threads is logged as JSON, not shown as a traceback.

A traceback repeats the text of every error of a chain, which may hold what a person sent, and goes
round the mask of the log.
"""

import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import structlog

from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable

_log = structlog.get_logger(__name__)

MAX_CAUSES = 10
"""Links of a chain of errors that are logged."""

MAX_FRAMES = 50
"""Innermost frames that are logged of each."""

_EXIT_STATUS = 1


def causes_of(error: BaseException) -> list[dict[str, str | list[str]]]:
    """The error and what led to it, latest first: classes and places, never a text or a value.

    The text of an error may repeat what a person sent or what a statement was given.
    """
    causes: list[dict[str, str | list[str]]] = []
    link: BaseException | None = error
    while link is not None and len(causes) < MAX_CAUSES:
        frames = traceback.extract_tb(link.__traceback__, limit=-MAX_FRAMES)
        causes.append(
            {
                "error_class": type(link).__qualname__,
                "frames": [f"{frame.filename}:{frame.lineno}:{frame.name}" for frame in frames],
            }
        )
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return causes


def log_uncaught() -> None:
    """From now on log what ends this process, or a thread of it, and what Python has to ignore."""
    sys.excepthook = _process_ends
    sys.unraisablehook = _ignored
    threading.excepthook = _thread_ends


@contextmanager
def ends_logged() -> Iterator[None]:
    """Log what ends the block and leave with exit status 1.

    For processes that multiprocessing starts: it shows a traceback without asking the hook.

    Raises:
        SystemExit: the block raised an error.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends this process
        _tell(error)
        raise SystemExit(_EXIT_STATUS) from None


def _process_ends(
    _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    if not isinstance(error, KeyboardInterrupt):
        _tell(error)


def _thread_ends(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        _tell(ended.exc_value)


def _ignored(ignored: "sys.UnraisableHookArgs") -> None:
    """Log an error that nobody can catch, as a finalizer's; Python would show an object's text."""
    if ignored.exc_value is not None:
        _log.error("ignored_error", causes=causes_of(ignored.exc_value))


def _tell(error: BaseException) -> None:
    _log.critical("uncaught_error", causes=causes_of(error), **_explanation(error))


def _explanation(error: BaseException) -> dict[str, str]:
    """What may be told besides: a text that this program wrote for operators, the system's code."""
    # Only now: it knows every part's errors, and a role loads what it needs alone.
    from webapi.cli.explained import EXPLAINED  # noqa: PLC0415

    if isinstance(error, EXPLAINED) and not isinstance(error, DatabaseBusy | DatabaseUnavailable):
        return {"explanation": str(error)}
    if isinstance(error, OSError) and error.errno:
        return {"explanation": os.strerror(error.errno)}
    return {}
