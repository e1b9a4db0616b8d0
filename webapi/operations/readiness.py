"""Readiness: each part is asked in the background of a request, at most one question at a time.

A part that hangs costs one thread, not one per request; a part that was asked a moment ago is not
asked again, so that whoever polls cannot put load on a database or a token.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog

Check = Callable[[], None]
"""Returns when the part is ready; raises anything when it is not."""

State = Literal["ready", "failed", "late"]

ANSWER_WITHIN = timedelta(seconds=2)
"""How long one request waits for a part."""

KEEP_ANSWER = timedelta(seconds=5)
"""How long an answer is repeated before the part is asked again."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Part:
    check: Check
    question: Future[State] | None = None
    asked_at: datetime | None = None


class Readiness:
    """Asks the parts; safe for threads."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        answer_within: timedelta = ANSWER_WITHIN,
        keep_answer: timedelta = KEEP_ANSWER,
    ) -> None:
        """Keep the checks; a service that checks nothing is never ready.

        Raises:
            ValueError: `checks` is empty.
        """
        if not checks:
            raise ValueError("readiness needs at least one check")
        self._parts = {name: _Part(check) for name, check in checks.items()}
        self._answer_within = answer_within
        self._keep_answer = keep_answer
        self._lock = threading.Lock()

    def ask(self, at: datetime) -> dict[str, State]:
        """The state of every part, by name."""
        questions = {name: self._question(name, part, at) for name, part in self._parts.items()}
        return {name: self._answer(question) for name, question in questions.items()}

    def _question(self, name: str, part: _Part, at: datetime) -> Future[State]:
        with self._lock:
            question = part.question
            fresh = part.asked_at is not None and at - part.asked_at < self._keep_answer
            if question is not None and (fresh or not question.done()):
                return question
            part.question = question = Future()
            part.asked_at = at
        threading.Thread(
            target=_run, args=(name, part.check, question), name=f"ready-{name}", daemon=True
        ).start()
        return question

    def _answer(self, question: Future[State]) -> State:
        try:
            return question.result(self._answer_within.total_seconds())
        except TimeoutError:
            return "late"


def _run(name: str, check: Check, question: "Future[State]") -> None:
    try:
        check()
    except Exception as e:  # noqa: BLE001 - whatever a part raises, it is not ready
        _log.warning("not_ready", part=name, error_class=type(e).__qualname__)
        question.set_result("failed")
    else:
        question.set_result("ready")
