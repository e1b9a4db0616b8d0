"""The audit logs: how much waits to be sealed."""

from collections.abc import Callable, Iterator, Mapping

from webapi.operations.checks import CheckResult
from webapi.storage.audit import MAX_UNSEALED_ENTRIES
from webapi.storage.errors import StorageError

AUDIT = "audit"
WARN_ABOVE = 1_000
"""A worker seals four times as many at once, every second."""


def check_audit(count_unsealed: Callable[[], Mapping[str, int]]) -> Iterator[CheckResult]:
    """Nothing has waited for so long that signing stops.

    Args:
        count_unsealed: gives the entries that wait in each realm.
    """
    remedy = (
        "Start the worker; if it runs, look at its log for `log_failed` and `log_halted`, and "
        "whether the token of [tokens.audit] is there."
    )
    try:
        waiting = count_unsealed()
    except StorageError as e:
        yield CheckResult.skipped(AUDIT, str(e))
        return
    seen = ", ".join(f"{realm}: {count} unsealed" for realm, count in waiting.items())
    most = max(waiting.values())
    if most >= MAX_UNSEALED_ENTRIES:
        yield CheckResult.failed(AUDIT, f"{seen}; nothing more is signed", remedy)
    elif most > WARN_ABOVE:
        yield CheckResult.warning(AUDIT, seen, remedy)
    else:
        yield CheckResult.ok(AUDIT, seen)
