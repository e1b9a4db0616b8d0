"""Fetched lists on both databases: one version each, kept while a login rests on it."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ocsp.config import TrustStore
from ocsp.crl.fetching import FetchedList
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.crl.source import CrlSource, ReadLists
from ocsp.transport import KnownVersion
from ocsp.trust import StatusSource
from tests.support.certificates import NOW, development_like_pki
from tests.support.crls import CrlSpec, make_crl
from tests.support.databases import Database
from tests.support.trust import trust_store
from tests.support.web import draw, login_body, make_site, send
from tests.unit.webapi.test_session_store import EVIDENCE
from webapi.decision_record import export_record, read_record
from webapi.storage.evidence import SqlEvidenceStore, insert_evidence, login_evidence
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
    evidence = replace(EVIDENCE, lists=(b"first", b"delta"), authority_lists=(b"root", b"first"))
    for der in (b"first", b"second", b"third"):
        store.keep(replace(FETCHED, der=der))
    with engine.begin() as connection:
        insert_evidence(connection, evidence)
    assert store.purge() == 1
    assert store.purge() == 0
    with engine.begin() as connection:
        left = set(connection.execute(select(status_lists.c.der)).scalars())
        assert left == {b"first", b"delta", b"root", b"third"}
        found = lists_of_login(connection, evidence.evidence_id)
    assert found == (evidence.lists, evidence.authority_lists)


def test_a_restored_database_takes_no_list_for_current(
    store: SqlListStore, database: Database
) -> None:
    store.keep(FETCHED)
    remove_open_logins(database.engine(Realm.LOGIN))
    assert store.current(URL) is None


def test_a_login_that_rests_on_lists_keeps_them(tmp_path: Path, database: Database) -> None:
    pki = development_like_pki()
    listed = CrlSpec(issuer=pki.citizen_ca)

    def by_lists(engine: Engine) -> tuple[TrustStore, StatusSource]:
        store = trust_store(pki, order=StatusOrder.CRL_ONLY, responders=(), crl=CrlRules((URL,)))
        lists = SqlListStore(engine)
        lists.keep(replace(FETCHED, der=make_crl(listed)))
        return store, CrlSource(ReadLists(lists), store)

    site = make_site(tmp_path, database=database, by_lists=by_lists)
    browser = site.client()
    response = send(browser, "/auth/login", login_body(draw(browser), pki.leaf))
    assert response.status_code == 200, response.text
    with site.engine.begin() as connection:
        evidence_id = connection.execute(select(login_evidence.c.evidence_id)).scalar_one()
    evidence = SqlEvidenceStore(site.engine).find(evidence_id)
    assert evidence is not None
    assert site.responder.asked == 0
    assert evidence.lists == (
        SqlListStore(site.engine).content(sha256(evidence.lists[0]).digest()),
    )
    assert evidence.this_update == listed.this_update
    assert (evidence.responder_url, evidence.ocsp_response) == (URL, b"")
    assert read_record(export_record(evidence)).evidence == evidence
