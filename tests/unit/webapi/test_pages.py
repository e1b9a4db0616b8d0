"""The pages: small, in two languages, framed by nobody, without inline code."""

import re

import pytest
from flask.testing import FlaskClient

from tests.support.login import ORIGIN
from tests.support.web import Site, draw, login_body, make_site, send
from webapi.login.cookies import SESSION
from webapi.pages.texts import TEXTS

MAX_PAGE_BYTES = 50_000


def test_both_languages_have_the_same_texts_and_none_is_empty() -> None:
    assert TEXTS["mn"].keys() == TEXTS["en"].keys()
    assert all(text for texts in TEXTS.values() for text in texts.values())


@pytest.mark.parametrize("path", ["/", "/login"])
def test_the_login_page_is_small_and_mongolian_first(client: FlaskClient, path: str) -> None:
    page = client.get(path, base_url=ORIGIN)
    assert page.status_code == 200
    assert '<html lang="mn">' in page.text
    assert "Нэвтрэх" in page.text
    assert "<noscript>" in page.text
    assert ORIGIN in page.text
    assert page.text.count("<button") == 1
    size = len(page.get_data())
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        file = client.get(name, base_url=ORIGIN, buffered=True)
        assert file.status_code == 200
        size += len(file.get_data())
    assert size < MAX_PAGE_BYTES


def test_english_is_one_link_away(client: FlaskClient) -> None:
    assert 'href="/login?lang=en"' in client.get("/login", base_url=ORIGIN).text
    page = client.get("/login?lang=en", base_url=ORIGIN)
    assert "Sign in with your card" in page.text
    assert page.headers["Content-Language"] == "en"
    assert '<html lang="mn">' in client.get("/login?lang=xx", base_url=ORIGIN).text


@pytest.mark.parametrize("path", ["/", "/static/tamga.js", "/health/live", "/nowhere"])
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path, base_url=ORIGIN, buffered=True).headers
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Strict-Transport-Security"].startswith("max-age=")
    assert headers["Cache-Control"] in {"no-store", "no-cache"}


def test_development_does_not_bind_localhost_to_https(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    site = make_site(tmp_path_factory.mktemp("data"), strict_transport=False)
    headers = site.client().get("/", base_url=ORIGIN).headers
    assert "Strict-Transport-Security" not in headers


def test_no_page_has_inline_code_or_style(site: Site, client: FlaskClient) -> None:
    send(client, "/auth/login", login_body(draw(client), site.pki.leaf))
    for path in ("/", "/me"):
        text = client.get(path, base_url=ORIGIN, headers={"Accept": "text/html"}).text
        assert not re.search(r"<script(?![^>]*\bsrc=)", text)
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text)


def test_me_is_a_page_for_browsers(site: Site, client: FlaskClient) -> None:
    send(client, "/auth/login", login_body(draw(client), site.pki.leaf))
    page = client.get("/me?lang=en", base_url=ORIGIN, headers={"Accept": "text/html,*/*;q=0.8"})
    assert "PNOMN-123456789012" in page.text
    assert 'id="logout"' in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_me_sends_a_browser_without_session_to_the_login(client: FlaskClient) -> None:
    client.set_cookie(SESSION, "A" * 43, domain="login.example", secure=True)
    response = client.get("/me?lang=en", base_url=ORIGIN, headers={"Accept": "text/html"})
    assert response.status_code == 303
    assert response.headers["Location"] == "/login?lang=en"


def test_a_name_on_a_certificate_is_escaped(site: Site, client: FlaskClient) -> None:
    from tests.support.certificates import distinguished_name

    subject = distinguished_name("<script>alert(1)</script>", "PNOMN-123456789012")
    card = site.pki.leaf_with(subject=subject)
    response = send(client, "/auth/login", login_body(draw(client), card))
    assert response.status_code == 200, response.text
    page = client.get("/me", base_url=ORIGIN, headers={"Accept": "text/html"})
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;" in page.text
