"""A database that fails: the client may come again, and no log says who was at the door."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError
from structlog.testing import capture_logs

from tests.support.login import ORIGIN
from tests.support.web import Site, code_of, draw, login_body, make_site, send
from webapi.login.cookies import SESSION
from webapi.storage import sqlite as module
from webapi.storage.challenges import challenge_stock
from webapi.storage.engine import make_engine
from webapi.storage.errors import DatabaseBusy, DatabaseUnavailable
from webapi.storage.realm import Realm

PERSONAL = ("PNOMN-123456789012", "Bat Bold", "CERTIFICATE")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """On SQLite: the ways to break it are its own; PostgreSQL's are in test_postgresql.py."""
    return make_site(tmp_path)


@pytest.mark.parametrize("table", ["sessions", "login_evidence"])
def test_a_login_that_cannot_be_stored_names_nobody_in_the_log(
    site: Site, client: FlaskClient, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    body = login_body(draw(client), site.pki.leaf)
    with site.engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE TRIGGER fail BEFORE INSERT ON {table} "
                "BEGIN SELECT RAISE(ABORT, 'aborted'); END"
            )
        )
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        response = send(client, "/auth/login", body)
    assert code_of(response) == "internal_error"
    logged = str(logs) + caplog.text
    assert "IntegrityError" in logged
    assert "storage/sessions.py" in logged
    for word in PERSONAL:
        assert word not in logged
        assert word not in response.text


def test_no_database_error_repeats_what_a_statement_was_given(site: Site) -> None:
    row = {"nonce": "a secret", "origin": None, "expires_at": 0}
    with pytest.raises(IntegrityError) as caught, site.engine.begin() as connection:
        connection.execute(insert(challenge_stock), row)
    assert "INSERT INTO" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site whose database another writer holds, and which does not wait for it."""
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MILLISECONDS", 1)
    site = make_site(tmp_path)
    with make_engine(str(site.engine.url), Realm.LOGIN).begin():
        yield site


@pytest.mark.parametrize("path", ["/auth/challenge", "/auth/login"])
def test_a_busy_database_is_worth_another_try(locked: Site, path: str) -> None:
    body = {"challenge_id": "0" * 32, "auth_token": {}} if path == "/auth/login" else {}
    response = send(locked.client(), path, body)
    assert code_of(response) == "database_busy"
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0


def test_when_the_other_writer_is_done_the_database_serves_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MILLISECONDS", 1)
    engine = make_engine(str(site.engine.url), Realm.LOGIN)
    with site.engine.begin():
        for _ in range(50):  # more often than the pool has connections
            with pytest.raises(DatabaseBusy), engine.begin():
                pass
    with engine.begin() as connection:
        assert connection.execute(select(challenge_stock)).all()


@pytest.mark.parametrize("cookie", [None, "", "short", "A" * 44])
def test_who_brings_no_cookie_of_ours_asks_nothing_of_the_database(
    locked: Site, cookie: str | None
) -> None:
    client = locked.client()
    if cookie is not None:
        client.set_cookie(SESSION, cookie, domain="login.example", secure=True)
    assert code_of(client.get("/me", base_url=ORIGIN)) == "not_signed_in"
    assert send(client, "/auth/logout").status_code == 204


def test_a_session_that_cannot_be_looked_up_is_not_called_absent(locked: Site) -> None:
    client = locked.client()
    client.set_cookie(SESSION, "A" * 43, domain="login.example", secure=True)
    assert code_of(client.get("/me", base_url=ORIGIN)) == "database_busy"


def _fill(connection: Connection) -> None:
    pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    row = {"nonce": "n" * 1_000_000, "origin": ORIGIN, "expires_at": 0}
    connection.execute(insert(challenge_stock), row)


def test_a_full_disk_is_no_fault_of_the_statement(site: Site) -> None:
    with pytest.raises(DatabaseUnavailable), site.engine.begin() as connection:
        _fill(connection)


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "login.db").mkdir()
    engine = make_engine(f"sqlite:///{tmp_path}/login.db", Realm.LOGIN)
    with pytest.raises(DatabaseUnavailable), engine.begin():
        pass


def test_a_wrong_statement_stays_a_fault_of_ours(site: Site) -> None:
    with pytest.raises(OperationalError), site.engine.begin() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))
