"""What waits for a person since its database was put back."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from signer.receipts.leaf import SLOT_SECONDS
from webapi.operations.checks import CheckResult
from webapi.storage.answer_holds import SqlAnswerHolds
from webapi.storage.errors import StorageError
from webapi.storage.log_holds import SqlLogHolds

LOGS, ANSWERS = "holds.logs", "holds.pki"


def check_log_holds(open_holds: Callable[[], SqlLogHolds]) -> Iterator[CheckResult]:
    """No log is on hold; one that is gives no receipts."""
    try:
        holds = open_holds()
        held = sorted(holds.held())
    except StorageError as e:
        yield CheckResult.skipped(LOGS, str(e))
        return
    if not held:
        yield CheckResult.ok(LOGS, "no log is on hold")
    for election_id in held:
        on_it = holds.find(election_id)
        if not on_it:  # released in between
            continue
        since = datetime.fromtimestamp(on_it[0].since_slot * SLOT_SECONDS, tz=UTC)
        seen = f"the log of {election_id} is on hold since {since:%F %R} UTC ({on_it[0].reason})"
        if any(hold.contradiction is not None for hold in on_it):
            yield CheckResult.failed(
                LOGS,
                f"{seen}, and its database lacks what was signed",
                "Restore a newer backup into an empty database; if there is none, the election "
                "goes on in a new log. The receipts given out remain evidence.",
            )
        else:
            remedy = f"Find the newest checkpoints of it, then: tamga log confirm {election_id}"
            yield CheckResult.failed(LOGS, seen, remedy)


def check_answer_holds(open_holds: Callable[[], SqlAnswerHolds]) -> Iterator[CheckResult]:
    """The responder may answer."""
    try:
        found = open_holds().find()
    except StorageError as e:
        yield CheckResult.skipped(ANSWERS, str(e))
        return
    if not found:
        yield CheckResult.ok(ANSWERS, "the answers about certificates are not on hold")
        return
    known = [hold.restored_to for hold in found if hold.restored_to is not None]
    seen = f"to {min(known):%F %R} UTC" if known else f"before {found[0].since:%F %R} UTC"
    yield CheckResult.failed(
        ANSWERS,
        f"the records of certificates were put back {seen}",
        "Suspend and revoke again what was suspended and revoked since; then: tamga pki confirm",
    )
