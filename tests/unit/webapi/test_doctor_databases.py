"""What the doctor says of the databases; most servers' answers are given."""

from dataclasses import replace
from datetime import timedelta

import pytest

from signer.errors import ChallengeStockEmpty
from tests.support.certificates import NOW
from tests.support.databases import PostgresDatabase, SqliteDatabase
from tests.support.postgres import PostgresServer, roles_in
from webapi.doctor.databases import check_apart, check_realm, check_stock, names_of
from webapi.operations.checks import CheckResult, CheckState
from webapi.settings_model import DatabaseSettings, RealmDatabases
from webapi.storage.errors import DatabaseBusy, DatabaseNotCurrent, DatabaseUnavailable
from webapi.storage.inspection import ServerFacts, look_at_server
from webapi.storage.realm import Realm

GOOD = ServerFacts(
    version="17.1",
    synchronous_commit="on",
    fsync=True,
    full_page_writes=True,
    dates_commits=False,
    read_only=False,
    is_superuser=False,
    is_member=False,
    is_owner=False,
    is_private=True,
    cluster=1,
    clock=NOW,
)


def results(facts: ServerFacts | None, realm: Realm = Realm.BALLOTS) -> dict[str, CheckResult]:
    found = check_realm(realm, lambda: facts, lambda: NOW)
    return {result.name: result for result in found}


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (DatabaseBusy("held"), "Try again"),
        (DatabaseUnavailable("x"), "or at the server"),
        (DatabaseNotCurrent("x"), "tamga db upgrade"),
    ],
)
def test_a_database_that_cannot_be_used(error: Exception, remedy: str) -> None:
    def fail() -> None:
        raise error

    (found,) = check_realm(Realm.PKI, fail, lambda: NOW)
    assert (found.name, found.state) == ("database.pki", CheckState.FAILED)
    assert remedy in found.remedy
    (apart,) = check_apart(fail, fail, production=True)
    (stock,) = check_stock(fail)
    assert apart.state is stock.state is CheckState.SKIPPED


@pytest.mark.parametrize(
    ("facts", "part", "state", "seen"),
    [
        (replace(GOOD, fsync=False), "durability", CheckState.FAILED, "fsync off"),
        (replace(GOOD, full_page_writes=False), "durability", CheckState.FAILED, "full_page"),
        (replace(GOOD, synchronous_commit="local"), "durability", CheckState.FAILED, "commit off"),
        (replace(GOOD, read_only=True), "writable", CheckState.FAILED, "standby"),
        (replace(GOOD, is_member=True), "role", CheckState.FAILED, "member of another"),
        (replace(GOOD, is_superuser=True), "role", CheckState.FAILED, "superuser"),
        (replace(GOOD, is_private=False), "line", CheckState.FAILED, "unencrypted"),
        (replace(GOOD, is_owner=True), "role", CheckState.WARNING, "owns its tables"),
        (replace(GOOD, clock=NOW - timedelta(seconds=3)), "clock", CheckState.WARNING, "3 s"),
        (replace(GOOD, clock=NOW + timedelta(hours=1)), "clock", CheckState.WARNING, "3600 s"),
        (replace(GOOD, dates_commits=True), "commit-times", CheckState.WARNING, "dates every"),
    ],
)
def test_a_server_that_is_not_set_as_it_should_be(
    facts: ServerFacts, part: str, state: CheckState, seen: str
) -> None:
    found = results(facts)
    wrong = found.pop(f"database.ballots.{part}")
    assert (wrong.state, seen in wrong.seen) == (state, True)
    assert {result.state for result in found.values()} == {CheckState.OK}


def test_commit_times_are_asked_of_the_ballots_alone() -> None:
    databases = RealmDatabases(
        login=DatabaseSettings(url="postgresql://a@/x"),
        ballots=DatabaseSettings(url="postgresql://b@/x"),
        pki=DatabaseSettings.model_construct(url="sqlite:////x/pki.db"),
    )
    for realm in (Realm.LOGIN, Realm.BALLOTS):
        assert tuple(results(GOOD, realm)) == names_of(realm, databases)
    assert tuple(results(None, Realm.PKI)) == names_of(Realm.PKI, databases) == ("database.pki",)
    assert "database.login.commit-times" not in results(GOOD, Realm.LOGIN)


@pytest.mark.parametrize(
    ("ballots", "production", "state"),
    [
        (GOOD, True, CheckState.WARNING),
        (GOOD, False, CheckState.OK),
        (replace(GOOD, cluster=2), True, CheckState.OK),
        (None, True, CheckState.OK),
    ],
)
def test_logins_and_ballots_on_one_server(
    ballots: ServerFacts | None, production: bool, state: CheckState
) -> None:
    (found,) = check_apart(lambda: GOOD, lambda: ballots, production=production)
    assert found.state is state


def test_the_stock() -> None:
    def empty() -> None:
        raise ChallengeStockEmpty("none")

    assert next(check_stock(empty)).state is CheckState.WARNING
    assert next(check_stock(lambda: None)).state is CheckState.OK


# The real servers.


def test_sqlite_has_no_server(sqlite_database: SqliteDatabase) -> None:
    assert look_at_server(sqlite_database.engine(Realm.LOGIN)) is None


@pytest.fixture
def standby(
    postgresql_database: PostgresDatabase, postgresql_server: PostgresServer
) -> PostgresDatabase:
    setting = f"ALTER DATABASE {postgresql_database.name} SET default_transaction_read_only = on"
    postgresql_server.administer("postgres", setting)
    return postgresql_database


def test_a_real_server_is_asked(postgresql_database: PostgresDatabase) -> None:
    facts = look_at_server(postgresql_database.engine(Realm.BALLOTS))
    assert facts is not None
    # The server of these tests is quick and not durable.
    assert (facts.synchronous_commit, facts.fsync, facts.full_page_writes) == ("on", False, False)
    assert (facts.is_owner, facts.is_superuser, facts.read_only) == (False, False, False)
    assert not facts.is_member
    assert facts.clock.tzinfo is not None
    assert facts.is_private
    owner = look_at_server(postgresql_database.owner_engine(Realm.BALLOTS))
    assert owner is not None
    assert owner.is_owner
    assert owner.cluster == facts.cluster


def test_a_read_only_server_says_so(standby: PostgresDatabase) -> None:
    facts = look_at_server(standby.engine(Realm.LOGIN))
    assert facts is not None
    assert facts.read_only


def test_a_role_that_is_a_member_of_another_is_seen(postgresql_database: PostgresDatabase) -> None:
    runtime = roles_in(postgresql_database.name, Realm.BALLOTS).runtime
    login = roles_in(postgresql_database.name, Realm.LOGIN).runtime
    postgresql_database.server.administer("postgres", f"GRANT {login} TO {runtime}")
    try:
        facts = look_at_server(postgresql_database.engine(Realm.BALLOTS))
    finally:
        postgresql_database.server.administer("postgres", f"REVOKE {login} FROM {runtime}")
    assert facts is not None
    assert facts.is_member
