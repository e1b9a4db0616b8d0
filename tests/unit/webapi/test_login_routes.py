"""The login over HTTP: what is refused, by which code, and that nothing is used twice."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from pkcs11_bridge import errors as token_errors
from pkcs11_bridge.agent import errors as agent_errors
from tests.support.certificates import NOW
from tests.support.login import ORIGIN
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, Status
from tests.support.web import Site, code_of, draw, login_body, make_site, send
from webapi.login.client_failures import ADVICE
from webapi.login.cookies import BROWSER, SESSION
from webapi.login.sessions import digest_of_secret
from webapi.storage.realm import Realm
from webapi.storage.schema import metadata_of
from webapi.storage.sessions import sessions


def test_an_unsigned_in_browser_is_told_so(client: FlaskClient) -> None:
    response = client.get("/me", base_url=ORIGIN)
    assert code_of(response) == "not_signed_in"
    assert response.status_code == 401
    assert "WWW-Authenticate" in response.headers


def test_an_unknown_challenge_is_refused(site: Site, client: FlaskClient) -> None:
    challenge = draw(client) | {"challenge_id": "0" * 32}
    response = send(client, "/auth/login", login_body(challenge, site.pki.leaf))
    assert code_of(response) == "challenge_not_found"


def test_a_challenge_of_another_browser_is_refused_and_gone(site: Site) -> None:
    victim, thief = site.client(), site.client()
    challenge = draw(victim)
    draw(thief)
    body = login_body(challenge, site.pki.leaf)
    assert code_of(send(thief, "/auth/login", body)) == "challenge_of_another_browser"
    assert code_of(send(victim, "/auth/login", body)) == "challenge_not_found"


def test_a_browser_without_cookie_is_refused(site: Site, client: FlaskClient) -> None:
    body = login_body(draw(client), site.pki.leaf)
    response = send(site.client(), "/auth/login", body)
    assert code_of(response) == "challenge_of_another_browser"


def test_a_late_answer_is_refused(site: Site, client: FlaskClient) -> None:
    body = login_body(draw(client), site.pki.leaf)
    site.pass_time(timedelta(minutes=5))
    assert code_of(send(client, "/auth/login", body)) == "challenge_expired"


def test_a_failed_login_uses_the_challenge_up(site: Site, client: FlaskClient) -> None:
    challenge = draw(client)
    wrong = login_body(challenge, site.pki.leaf, nonce="A" * 128)
    assert code_of(send(client, "/auth/login", wrong)) == "token_signature_invalid"
    right = login_body(challenge, site.pki.leaf)
    assert code_of(send(client, "/auth/login", right)) == "challenge_not_found"


def test_a_challenge_is_answered_once(site: Site, client: FlaskClient) -> None:
    body = login_body(draw(client), site.pki.leaf)
    browser = client.get_cookie(BROWSER, domain="login.example")
    assert browser is not None
    assert send(client, "/auth/login", body).status_code == 200
    client.set_cookie(BROWSER, browser.value, domain="login.example", secure=True)
    assert code_of(send(client, "/auth/login", body)) == "challenge_not_found"


def test_of_fifty_threads_exactly_one_signs_in(site: Site, client: FlaskClient) -> None:
    body = login_body(draw(client), site.pki.leaf)
    browser = client.get_cookie(BROWSER, domain="login.example")
    assert browser is not None
    barrier = threading.Barrier(50)

    def attempt(_: int) -> int:
        own = site.client()
        own.set_cookie(BROWSER, browser.value, domain="login.example", secure=True)
        barrier.wait()
        return send(own, "/auth/login", body).status_code

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(attempt, range(50)))
    assert sorted(answers) == [200] + [403] * 49
    assert site.responder.asked == 1
    with site.engine.begin() as connection:
        assert len(connection.execute(select(sessions)).all()) == 1


def test_a_relayed_challenge_of_another_origin_is_refused(site: Site, client: FlaskClient) -> None:
    body = login_body(draw(client), site.pki.leaf, origin="https://fake.example")
    assert code_of(send(client, "/auth/login", body)) == "token_signature_invalid"
    assert site.responder.asked == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": "web-eid:10"}, "token_format_unsupported"),
        ({"algorithm": "none"}, "token_algorithm_unsupported"),
        ({"algorithm": "RS256"}, "token_algorithm_unsupported"),
        ({"signature": "not base64!"}, "token_malformed"),
        ({"signature": ["a"]}, "token_malformed"),
        ({"unverifiedCertificate": "AAAA"}, "certificate_malformed"),
        ({"unverifiedCertificate": ""}, "token_malformed"),
    ],
)
def test_a_bent_token_is_refused_without_asking_a_responder(
    site: Site, client: FlaskClient, changes: dict[str, object], code: str
) -> None:
    body = login_body(draw(client), site.pki.leaf, changes=changes)
    response = send(client, "/auth/login", body)
    assert code_of(response) == code
    assert 400 <= response.status_code < 500
    assert site.responder.asked == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"not_after": NOW - timedelta(seconds=1)}, "certificate_expired"),
        ({"not_before": NOW + timedelta(seconds=1)}, "certificate_not_yet_valid"),
        ({"issuer": None}, "certificate_not_trusted"),
        ({"policies": ()}, "certificate_policy_missing"),
        ({"key_usage": None}, "certificate_purpose_missing"),
    ],
)
def test_a_wrong_certificate_is_refused(
    site: Site, client: FlaskClient, changes: dict[str, object], code: str
) -> None:
    card = site.pki.leaf_with(**changes)
    response = send(client, "/auth/login", login_body(draw(client), card))
    assert code_of(response) == code
    assert site.responder.asked == 0


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        ("revoked", "key_compromise", "certificate_revoked"),
        ("revoked", "certificate_hold", "certificate_suspended"),
        ("unknown", None, "certificate_status_unknown"),
    ],
)
def test_a_bad_status_is_refused_with_its_own_code(
    site: Site,
    client: FlaskClient,
    status: Status,
    reason: str | None,
    code: str,
) -> None:
    def change(spec: AnswerSpec) -> AnswerSpec:
        return replace(spec, singles=(SingleSpec(status=status, reason=reason),))

    site.responder.change = change
    response = send(client, "/auth/login", login_body(draw(client), site.pki.leaf))
    assert code_of(response) == code
    assert response.status_code == 403
    facts = response.get_json()
    if code == "certificate_revoked":
        assert facts["reason"] == "keyCompromise"
        assert facts["revoked_at"].startswith("2026-11-13")
    if code == "certificate_suspended":
        assert facts["suspended_since"].startswith("2026-11-13")
    assert client.get("/me", base_url=ORIGIN).status_code == 401


def test_a_responder_without_answer_is_another_code_and_worth_another_try(
    site: Site, client: FlaskClient
) -> None:
    site.responder.change = lambda spec: replace(spec, spoil_signature=True)
    response = send(client, "/auth/login", login_body(draw(client), site.pki.leaf))
    assert code_of(response) == "certificate_status_unavailable"
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0


def test_a_card_signs_in_and_out(site: Site, client: FlaskClient) -> None:
    response = send(client, "/auth/login", login_body(draw(client), site.pki.leaf))
    assert response.status_code == 200, response.text
    answer = response.get_json()
    assert answer["subject"] == "PNOMN-123456789012"
    assert answer["ocsp"] == {
        "status": "good",
        "responder": answer["ocsp"]["responder"],
        "this_update": "2026-11-15T11:59:58Z",
    }
    assert "OCSP delegate" in answer["ocsp"]["responder"]
    assert answer["amr"] == ["hwk", "pin"]
    me = client.get("/me", base_url=ORIGIN).get_json()
    assert me == {name: value for name, value in answer.items() if name != "ocsp"}
    assert send(client, "/auth/logout").status_code == 204
    assert client.get("/me", base_url=ORIGIN).status_code == 401


def test_the_usual_name_of_the_token_is_taken_as_well(site: Site, client: FlaskClient) -> None:
    body = login_body(draw(client), site.pki.leaf)
    body["authToken"] = body.pop("auth_token")
    assert send(client, "/auth/login", body).status_code == 200


def test_two_tokens_at_once_are_refused(site: Site, client: FlaskClient) -> None:
    body = login_body(draw(client), site.pki.leaf)
    body["authToken"] = body["auth_token"]
    assert code_of(send(client, "/auth/login", body)) == "json_shape_wrong"


def test_a_planted_session_is_worth_nothing_after_the_login(site: Site) -> None:
    attacker, victim = site.client(), site.client()
    send(attacker, "/auth/login", login_body(draw(attacker), site.pki.leaf))
    planted = attacker.get_cookie(SESSION, domain="login.example")
    assert planted is not None
    victim.set_cookie(SESSION, planted.value, domain="login.example", secure=True)
    send(victim, "/auth/login", login_body(draw(victim), site.pki.leaf))
    fresh = victim.get_cookie(SESSION, domain="login.example")
    assert fresh is not None
    assert fresh.value != planted.value
    assert attacker.get("/me", base_url=ORIGIN).status_code == 401
    assert victim.get("/me", base_url=ORIGIN).status_code == 200


def test_a_made_up_session_cookie_is_not_adopted(site: Site, client: FlaskClient) -> None:
    client.set_cookie(SESSION, "A" * 43, domain="login.example", secure=True)
    send(client, "/auth/login", login_body(draw(client), site.pki.leaf))
    cookie = client.get_cookie(SESSION, domain="login.example")
    assert cookie is not None
    assert cookie.value != "A" * 43


def test_cookies_are_host_only_and_the_database_never_sees_them(
    site: Site, client: FlaskClient
) -> None:
    first = send(client, "/auth/challenge")
    challenge = first.get_json()
    second = send(client, "/auth/login", login_body(challenge, site.pki.leaf))
    for response, name, same_site in ((first, BROWSER, "Strict"), (second, SESSION, "Lax")):
        (header,) = [
            value
            for value in response.headers.getlist("Set-Cookie")
            if f"{name}=" in value and "Max-Age=0" not in value
        ]
        parts = {part.strip() for part in header.split(";")}
        assert {"Secure", "HttpOnly", "Path=/", f"SameSite={same_site}"} <= parts
        assert not any(part.startswith("Domain") for part in parts)
    cookie = client.get_cookie(SESSION, domain="login.example")
    assert cookie is not None
    with site.engine.begin() as connection:
        row = connection.execute(select(sessions)).one()
        tables = metadata_of(Realm.LOGIN).sorted_tables
        stored = [connection.execute(select(table)).all() for table in tables]
    assert row.token_sha256 == digest_of_secret(cookie.value)
    assert cookie.value not in str(stored)


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([timedelta(minutes=14)] * 4, 200),
        ([timedelta(minutes=15)], 401),
        ([timedelta(minutes=14)] * 35, 401),
    ],
)
def test_a_session_ends_unused_or_at_its_absolute_limit(
    site: Site, client: FlaskClient, waits: list[timedelta], expected: int
) -> None:
    send(client, "/auth/login", login_body(draw(client), site.pki.leaf))
    status = 0
    for wait in waits:
        site.pass_time(wait)
        status = client.get("/me", base_url=ORIGIN).status_code
    assert status == expected


def test_two_tabs_of_a_browser_do_not_break_each_other(site: Site, client: FlaskClient) -> None:
    first, second = draw(client), draw(client)
    assert first["nonce"] != second["nonce"]
    assert send(client, "/auth/login", login_body(first, site.pki.leaf)).status_code == 200


def test_an_empty_stock_is_told_with_a_time_to_come_back(tmp_path: Path) -> None:
    site = make_site(tmp_path, stock=0)
    response = send(site.client(), "/auth/challenge")
    assert code_of(response) == "challenge_stock_empty"
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "2"


def test_one_source_cannot_drain_the_stock(tmp_path: Path) -> None:
    site = make_site(tmp_path, burst=2, stock=4)
    answers = [send(site.client(), "/auth/challenge") for _ in range(4)]
    assert [response.status_code for response in answers] == [200, 200, 429, 429]
    assert code_of(answers[-1]) == "too_many_requests"
    assert site.challenges.count_stock(ORIGIN, usable_until=NOW) == 2


def test_a_problem_is_told_in_mongolian_to_those_who_prefer_it(client: FlaskClient) -> None:
    response = client.get("/me", base_url=ORIGIN, headers={"Accept-Language": "mn, en;q=0.5"})
    assert response.get_json()["title"] == "Та нэвтрээгүй байна."
    assert response.headers["Content-Language"] == "mn"


@pytest.mark.parametrize(
    ("code", "language", "begins", "reportable"),
    [
        ("ERR_WEBEID_EXTENSION_UNAVAILABLE", "mn", "Хөтөч дээр", False),
        ("pin-locked", "en", "The PIN is locked", False),
        ("proof-foreign", "mn", "АНХААР", True),
        ("something-new", "en", "Something failed", True),
    ],
)
def test_a_failure_of_the_citizens_computer_gets_advice(
    client: FlaskClient, code: str, language: str, begins: str, reportable: bool
) -> None:
    response = client.post(
        "/auth/error",
        json={"code": code, "duration_milliseconds": 12, "versions": {"extension": "2.4.1"}},
        headers={"Accept-Language": language},
        base_url=ORIGIN,
    )
    answer = response.get_json()
    assert response.status_code == 200, response.text
    assert answer["text"].startswith(begins)
    assert answer["reportable"] is reportable
    assert answer["incident"]


@pytest.mark.parametrize(
    ("language", "tries_left", "told"),
    [
        ("mn", 2, "Үлдсэн оролдлого: 2."),
        ("en", 2, "Tries left: 2."),
        ("en", 0, "Tries left: 0."),
    ],
)
def test_the_tries_left_are_told(
    client: FlaskClient, language: str, tries_left: int, told: str
) -> None:
    def advice(report: dict[str, object]) -> str:
        headers = {"Accept-Language": language}
        response = client.post("/auth/error", json=report, headers=headers, base_url=ORIGIN)
        text: str = response.get_json()["text"]
        return text

    known = advice({"code": "pin-incorrect", "tries_left": tries_left})
    assert known == advice({"code": "pin-incorrect"}) + " " + told


@pytest.mark.parametrize("tries_left", [-1, 16, "2", 2.5, True])
def test_tries_that_no_card_counts_are_refused(client: FlaskClient, tries_left: object) -> None:
    report = {"code": "pin-incorrect", "tries_left": tries_left}
    assert code_of(send(client, "/auth/error", report)) == "json_shape_wrong"


def test_failure_reports_are_limited_and_take_no_free_text(tmp_path: Path) -> None:
    client = make_site(tmp_path, burst=2).client()
    report = {"code": "no-card", "message": "a name could be in here"}
    assert code_of(send(client, "/auth/error", report)) == "json_shape_wrong"
    assert send(client, "/auth/error", {"code": "no-card"}).status_code == 200
    assert code_of(send(client, "/auth/error", {"code": "no-card"})) == "too_many_requests"


def test_the_advice_speaks_of_codes_that_the_agent_has() -> None:
    known = {
        re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
        for module in (token_errors, agent_errors)
        for name in vars(module)
    }
    ours = {code for code in ADVICE if not code.startswith("ERR_WEBEID_")}
    assert ours <= known
