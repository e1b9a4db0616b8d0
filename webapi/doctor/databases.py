"""The realms' databases: reachable, migrated, durable, and kept apart."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from signer.errors import ChallengeStockEmpty
from webapi.operations.checks import CheckResult
from webapi.operations.readiness import Check as ReadinessCheck
from webapi.settings_model import RealmDatabases
from webapi.storage.errors import (
    DatabaseBusy,
    DatabaseDirectoryUnsafe,
    DatabaseNotCurrent,
    StorageError,
)
from webapi.storage.inspection import ServerFacts
from webapi.storage.realm import Realm
from webapi.storage.urls import is_sqlite

STOCK = "challenge-stock"
APART = "database.apart"
LARGEST_SKEW = timedelta(seconds=2)

_REMEDIES: Mapping[type[StorageError], str] = {
    DatabaseNotCurrent: (
        "Run `tamga db upgrade`; if it refuses, the data is of another version: run that one."
    ),
    DatabaseDirectoryUnsafe: "Give the folder to the service's user alone: chown, and chmod 700.",
    DatabaseBusy: "Try again; if it stays so, look which process holds the database.",
}
_REMEDY = "Look at [database.*]; then at the file's owner and the disk, or at the server."
_DURABLE = frozenset({"on", "remote_apply"})

Look = Callable[[], ServerFacts | None]
"""Opens a realm's database, refuses another version, and asks the server; None for SQLite."""


def names_of(realm: Realm, databases: RealmDatabases) -> tuple[str, ...]:
    """The names of a realm's results, in their order."""
    first = f"database.{realm}"
    parts = ["durability", "writable", "role", "line", "clock"]
    if realm is Realm.BALLOTS:
        parts.append("commit-times")
    if is_sqlite(databases.of(realm).url):
        parts = []
    return (first, *(f"{first}.{part}" for part in parts))


def check_realm(realm: Realm, look: Look, now: Callable[[], datetime]) -> Iterator[CheckResult]:
    """One realm; what cannot be opened has one result."""
    name = f"database.{realm}"
    before = now()
    try:
        facts = look()
    except StorageError as e:
        yield CheckResult.failed(name, str(e), _REMEDIES.get(type(e), _REMEDY))
        return
    if facts is None:
        yield CheckResult.ok(name, "its folder is its owner's alone, its tables of this version")
        return
    yield CheckResult.ok(name, f"PostgreSQL {facts.version}, its tables of this version")
    yield _durability(f"{name}.durability", facts)
    yield _writable(f"{name}.writable", facts)
    yield _role(f"{name}.role", facts)
    yield _line(f"{name}.line", facts)
    yield _clock(f"{name}.clock", facts.clock, before, now())
    if realm is Realm.BALLOTS:
        yield _commit_times(f"{name}.commit-times", facts)


def check_stock(stock: ReadinessCheck) -> Iterator[CheckResult]:
    """The same question that /health/ready asks."""
    try:
        stock()
    except ChallengeStockEmpty as e:
        remedy = "Start the service; if it runs, look at the worker's log for `job_failed`."
        yield CheckResult.warning(STOCK, str(e), remedy)
    except StorageError:
        yield CheckResult.skipped(STOCK, f"not looked at, because of database.{Realm.LOGIN}")
    else:
        yield CheckResult.ok(STOCK, "signed challenges are ready")


def check_apart(login: Look, ballots: Look, *, production: bool) -> Iterator[CheckResult]:
    """Logins and ballots are not in one cluster, whose transaction numbers count both."""
    try:
        clusters = [facts.cluster for facts in (login(), ballots()) if facts is not None]
    except StorageError:
        yield CheckResult.skipped(APART, "not looked at, because a database cannot be opened")
        return
    if len(set(clusters)) == len(clusters):
        yield CheckResult.ok(APART, "logins and ballots are on servers or in files of their own")
        return
    seen = "logins and ballots are on one server: its transaction numbers and backups order both"
    if production:
        remedy = "Give the ballots a server of their own (docs/operator.md, PostgreSQL)."
        yield CheckResult.warning(APART, seen, remedy)
    else:
        yield CheckResult.ok(APART, f"{seen}; enough for development")


def _durability(name: str, facts: ServerFacts) -> CheckResult:
    wrong = [
        setting
        for setting, is_right in (
            ("synchronous_commit", facts.synchronous_commit in _DURABLE),
            ("fsync", facts.fsync),
            ("full_page_writes", facts.full_page_writes),
        )
        if not is_right
    ]
    if wrong:
        seen = f"{', '.join(wrong)} off: what was answered can be lost with the power"
        return CheckResult.failed(name, seen, f"Set {', '.join(wrong)} to on, and restart it.")
    return CheckResult.ok(name, "a commit is on the disk before it is answered")


def _writable(name: str, facts: ServerFacts) -> CheckResult:
    if facts.read_only:
        remedy = "Name the primary in the URL, or set default_transaction_read_only to off."
        return CheckResult.failed(name, "the server takes no writes: a standby?", remedy)
    return CheckResult.ok(name, "takes writes")


def _role(name: str, facts: ServerFacts) -> CheckResult:
    if facts.is_superuser:
        remedy = "Have the SQL of `tamga db roles` run, and name its role in the URL."
        return CheckResult.failed(name, "the service signs in as a superuser", remedy)
    if facts.is_member:
        seen = "the service's role is a member of another: what keeps the realms apart is undone"
        return CheckResult.failed(name, seen, "REVOKE the other role from the role in the URL.")
    if facts.is_owner:
        remedy = "Name the owner in upgrade_url and another role in url; then `tamga db roles`."
        seen = "the service owns its tables: it could remove what is kept for ever"
        return CheckResult.warning(name, seen, remedy)
    return CheckResult.ok(name, "may do what the tables declare")


def _line(name: str, facts: ServerFacts) -> CheckResult:
    if not facts.is_private:
        remedy = "Serve TLS there, and add ?sslmode=verify-full&sslrootcert=… to the URL."
        return CheckResult.failed(name, "passwords and data cross the network unencrypted", remedy)
    return CheckResult.ok(name, "encrypted, or within this host")


def _clock(name: str, clock: datetime, before: datetime, after: datetime) -> CheckResult:
    skew = max(before - clock, clock - after, timedelta(0))
    if skew > LARGEST_SKEW:
        seen = f"the server's clock is {skew.total_seconds():.0f} s away from this host's"
        return CheckResult.warning(name, seen, "Let both hosts keep time by NTP.")
    return CheckResult.ok(name, "agrees with this host's")


def _commit_times(name: str, facts: ServerFacts) -> CheckResult:
    if facts.dates_commits:
        seen = "track_commit_timestamp is on: it dates every ballot to the microsecond"
        return CheckResult.warning(name, seen, "Set it to off, and restart the server.")
    return CheckResult.ok(name, "are not kept")
