"""Each realm's database is the one that its audit log was sealed from, and no older one."""

from collections.abc import Callable, Iterator

from signer.receipts.errors import SequencerHalted
from webapi.operations.checks import CheckResult
from webapi.put_back import PUT_BACK
from webapi.storage.errors import StorageError
from webapi.storage.realm import Realm


def name_of(realm: Realm) -> str:
    """The name of a realm's result."""
    return f"audit.{realm}"


def check_put_back(realm: Realm, compare: Callable[[], None]) -> Iterator[CheckResult]:
    """The newest seal in the folder is one that the database knows.

    Args:
        realm: which one.
        compare: as `webapi.put_back.compare_audit_log`.
    """
    name = name_of(realm)
    try:
        compare()
    except PUT_BACK as e:
        yield CheckResult.failed(
            name,
            f"the {realm} database is older than its audit log's folder, or of another tree: {e}",
            "Put the newest database in its place. If there is none: do again by hand what was "
            f"suspended or revoked since, then: tamga audit begin-anew {realm}",
        )
    except SequencerHalted as e:
        yield CheckResult.failed(
            name,
            f"the folder of the {realm} audit log does not tell how far it was sealed: {e}",
            "Put the newest checkpoint that anybody holds of it into its folder.",
        )
    except (StorageError, OSError) as e:
        yield CheckResult.skipped(name, f"not compared: {type(e).__name__}")
    else:
        yield CheckResult.ok(name, "the database is the one that was sealed")
