"""A database that fails: the client may come again, and no log says who was at the door."""

import logging

import pytest
from flask.testing import FlaskClient
from sqlalchemy import insert, text
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from tests.support.web import Site, code_of, draw, login_body, send
from webapi.storage.challenges import challenge_stock

PERSONAL = ("PNOMN-123456789012", "Bat Bold", "CERTIFICATE")


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
