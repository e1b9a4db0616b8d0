"""Questions and verdicts about paths as lines of JSON, for the pipe to a worker process."""

import hashlib
import json
from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any

from ocsp.errors import PathMember
from ocsp.path_judging import Finding, PathQuestion, PathVerdict, PolicyInputs

READY = "ready"
"""The worker's first line."""

MAX_LINE_BYTES = 4096
"""Longest line that a worker answers with."""


def question_text(question: PathQuestion, seconds: float) -> str:
    """The question, and the seconds it may take, as one line."""
    policies = question.policies
    return json.dumps(
        {
            "certificates": [b64encode(der).decode() for der in question.certificates],
            "initial": sorted(policies.initial),
            "explicit": policies.explicit,
            "inhibit_mapping": policies.inhibit_mapping,
            "inhibit_any": policies.inhibit_any,
            "at": question.at.isoformat(),
            "seconds": seconds,
        }
    )


def question_of(message: dict[str, Any]) -> PathQuestion:
    """The question in a line's message."""
    return PathQuestion(
        certificates=tuple(b64decode(der) for der in message["certificates"]),
        policies=PolicyInputs(
            frozenset(message["initial"]),
            explicit=message["explicit"],
            inhibit_mapping=message["inhibit_mapping"],
            inhibit_any=message["inhibit_any"],
        ),
        at=datetime.fromisoformat(message["at"]),
    )


def digest_of(question: str) -> str:
    """Which question a verdict answers: SHA-256 of its line, without the line's end."""
    return hashlib.sha256(question.encode()).hexdigest()


def verdict_text(verdict: PathVerdict, question: str) -> str:
    """The verdict about a question, which is a line of text, as one line."""
    instant = verdict.instant
    return json.dumps(
        {
            "question": digest_of(question),
            "finding": verdict.finding.value,
            "text": verdict.text[: MAX_LINE_BYTES // 8],
            "member": verdict.member.value,
            "instant": None if instant is None else instant.isoformat(),
        }
    )


def verdict_of(line: str, question: str) -> PathVerdict:
    """The verdict about this very question in a line; raises ValueError or KeyError."""
    message = json.loads(line)
    if message["question"] != digest_of(question):
        raise ValueError("a verdict about another question")
    instant = message["instant"]
    return PathVerdict(
        finding=Finding(message["finding"]),
        text=message["text"],
        member=PathMember(message["member"]),
        instant=None if instant is None else datetime.fromisoformat(instant),
    )
