"""Fetched lists on both databases: one version each, kept while a login rests on it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from ocsp.crl.fetching import FetchedList
from ocsp.transport import KnownVersion
from tests.support.certificates import NOW
from tests.support.databases import Database
from tests.unit.webapi.test_session_store import EVIDENCE
from webapi.storage.evidence import insert_evidence
from webapi.storage.open_logins import remove_open_logins
from webapi.storage.realm import Realm
from webapi.storage.status_lists import SqlListStore, lists_of_login, status_lists

URL = "http://ca.example/list.crl"
FETCHED = FetchedList(URL, b"first", '"1"', "Sun, 15 Nov 2026 11:00:00 GMT", NOW)


@pytest.fixture
def store(database: Database) -> SqlListStore:
    return SqlListStore(database.engine(Realm.LOGIN))


def test_nothing_is_found_where_nothing_was_fetched(store: SqlListStore) -> None:
    assert store.current(URL) is None
    assert store.known(URL) is None
    assert store.content(FETCHED.sha256) is None


def test_the_last_one_fetched_is_current(store: SqlListStore) -> None:
    store.keep(FETCHED)
    assert store.current(URL) == FETCHED.sha256
    assert store.known(URL) == (KnownVersion('"1"', FETCHED.last_modified), NOW)
    later = NOW + timedelta(minutes=15)
    second = replace(FETCHED, der=b"second", etag="", fetched_at=later)
    store.keep(second)
    assert store.current(URL) == second.sha256
    assert store.content(second.sha256) == b"second"
    assert store.known(URL) == (KnownVersion("", FETCHED.last_modified), later)


def test_a_list_that_did_not_change_is_current_anew(store: SqlListStore) -> None:
    store.keep(FETCHED)
    store.unchanged(URL, at=NOW + timedelta(hours=1))
    known = store.known(URL)
    assert known is not None
    assert known[1] == NOW + timedelta(hours=1)


def test_only_lists_that_nothing_rests_on_are_removed(
    store: SqlListStore, database: Database
) -> None:
    engine = database.engine(Realm.LOGIN)
    evidence = replace(EVIDENCE, lists=(b"first", b"delta"))
    for der in (b"first", b"second", b"third"):
        store.keep(replace(FETCHED, der=der))
    with engine.begin() as connection:
        insert_evidence(connection, evidence)
    assert store.purge() == 1
    assert store.purge() == 0
    with engine.begin() as connection:
        left = set(connection.execute(select(status_lists.c.der)).scalars())
        assert left == {b"first", b"delta", b"third"}
        assert lists_of_login(connection, evidence.evidence_id) == (b"first", b"delta")


def test_a_restored_database_takes_no_list_for_current(
    store: SqlListStore, database: Database
) -> None:
    store.keep(FETCHED)
    remove_open_logins(database.engine(Realm.LOGIN))
    assert store.current(URL) is None
