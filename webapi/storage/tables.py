"""Every module that declares tables; importing this one makes every realm complete.

Without it, what `upgrade` creates would depend on what else a process happened to import.
"""

from types import ModuleType

from webapi.storage import (
    answer_holds,
    audit,
    audit_generations,
    ballot_log,
    certificates,
    challenges,
    crls,
    decisions,
    elections,
    evidence,
    log_holds,
    permits,
    registrations,
    sessions,
    status_answers,
    status_lists,
)

TABLE_MODULES: tuple[ModuleType, ...] = (
    answer_holds,
    audit,
    audit_generations,
    ballot_log,
    certificates,
    challenges,
    crls,
    decisions,
    elections,
    evidence,
    log_holds,
    permits,
    registrations,
    sessions,
    status_answers,
    status_lists,
)
