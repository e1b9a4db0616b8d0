"""Logs as JSON lines on standard error; what names a person is masked in every value."""

import logging
import re
import sys
from collections.abc import Mapping

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "[masked]"

GRANIAN_LOGS: dict[str, object] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {},
    "handlers": {},
    "loggers": {name: {"handlers": [], "propagate": True} for name in ("_granian", "granian")},
}
"""The server's own loggers write nothing themselves: like any library's, their warnings go to
what `configure_logs` set."""

# A combining mark may follow a letter: Й and Ё exist in two spellings (Unicode NFC and NFD).
_LETTER = r"[Ѐ-ӿ][\u0300-\u036f]*"
_PERSON_NUMBER = re.compile(
    rf"PNO[A-Z]{{2}}-[\w-]+|{_LETTER}[\s-]?{_LETTER}[\s-]?\d{{8}}", re.IGNORECASE
)
"""A semantics identifier (ETSI EN 319 412-1 section 5.1.3), or a Mongolian registration number:
two Cyrillic letters and eight digits."""


def mask_person_numbers(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask registration numbers and PNO identifiers, however deep in a value they are."""
    return {key: _masked(value) for key, value in event.items()}


def _masked(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _PERSON_NUMBER.sub(MASK, value)
    if isinstance(value, bytes):
        return _masked(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {str(_masked(key)): _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item) for item in value]
    return _masked(repr(value))


def configure_logs() -> None:
    """One JSON object per line: time, level, event and its members; libraries' warnings too.

    A line and its end are one write: several processes share a log.
    """
    before: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    after: list[Processor] = [
        mask_person_numbers,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, _only_what_a_library_may_say],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # What `warnings` shows is text of its own, which a certificate's name can bring about.
    logging.captureWarnings(capture=True)


def _only_what_a_library_may_say(
    _logger: WrappedLogger, _method: str, event: EventDict
) -> EventDict:
    """Its name and where it spoke: its text may repeat what a person sent, or an address."""
    record: logging.LogRecord = event["_record"]
    said = {"event": "library_warning", "library": record.name}
    kept = {key: event[key] for key in ("_record", "_from_structlog", "level", "timestamp")}
    incident = {"incident": event["incident"]} if "incident" in event else {}
    return {**kept, **incident, **said, "line": f"{record.module}:{record.lineno}"}
