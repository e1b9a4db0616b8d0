"""Request bodies and requests of other sites: each refusal by its own code, never a 500."""

import io
import json

import pytest
from flask import Flask, jsonify, request
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from tests.support.login import ORIGIN
from tests.support.web import code_of
from webapi.problems import install_problem_handlers
from webapi.strict_json import (
    MAX_DEPTH,
    BodyError,
    JsonDuplicateKey,
    JsonTooDeep,
    parse_object,
    read_json,
)

GOOD = {"challenge_id": "a" * 32, "auth_token": {"format": "web-eid:1.0"}}


def post(
    client: FlaskClient,
    body: bytes,
    content_type: str = "application/json",
    path: str = "/auth/login",
) -> TestResponse:
    return client.post(path, data=body, content_type=content_type, base_url=ORIGIN)


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"", "json_malformed", 400),
        (b"{", "json_malformed", 400),
        (b"[]", "json_malformed", 400),
        (b"null", "json_malformed", 400),
        (b'{"a": NaN}', "json_malformed", 400),
        (b'{"a": ' + b"9" * 5000 + b"}", "json_malformed", 400),
        (b'\xef\xbb\xbf{"a": 1}', "json_malformed", 400),
        (b'{"a": "\xff"}', "body_not_utf8", 400),
        ('{"a": "b"}'.encode("utf-16"), "body_not_utf8", 400),
        (b'{"a": "\\ud800"}', "body_not_utf8", 400),
        (b'{"\\udfff": 1}', "body_not_utf8", 400),
        (b'{"a": 1, "a": 1}', "json_duplicate_key", 400),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "json_duplicate_key", 400),
        (b"[" * 17 + b"]" * 17, "json_too_deep", 400),
        (b'{"a":' * 10_000, "body_too_large", 413),
        (b'{"a":' * 3_000, "json_too_deep", 400),
        (b" " * 16_385, "body_too_large", 413),
        (b" " * 2_000_000, "body_too_large", 413),
        (b"{}", "json_shape_wrong", 422),
        (json.dumps(GOOD | {"extra": 1}).encode(), "json_shape_wrong", 422),
        (json.dumps(GOOD | {"challenge_id": 7}).encode(), "json_shape_wrong", 422),
        (json.dumps(GOOD | {"challenge_id": "A" * 32}).encode(), "json_shape_wrong", 422),
        (json.dumps(GOOD | {"challenge_id": "a" * 32 + "\n"}).encode(), "json_shape_wrong", 422),
        (json.dumps(GOOD | {"auth_token": "x"}).encode(), "json_shape_wrong", 422),
        (json.dumps(GOOD | {"auth_token": None}).encode(), "json_shape_wrong", 422),
    ],
)
def test_a_bad_body_is_refused(client: FlaskClient, body: bytes, code: str, status: int) -> None:
    response = post(client, body)
    assert code_of(response) == code
    assert response.status_code == status


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonx",
    ],
)
@pytest.mark.parametrize("path", ["/auth/challenge", "/auth/login", "/auth/logout", "/auth/error"])
def test_another_content_type_is_refused(client: FlaskClient, content_type: str, path: str) -> None:
    response = post(client, b"{}", content_type, path)
    assert code_of(response) == "content_type_wrong"
    assert response.status_code == 415


def test_a_content_coding_is_refused(client: FlaskClient) -> None:
    response = client.post(
        "/auth/challenge",
        data=b"{}",
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
        base_url=ORIGIN,
    )
    assert code_of(response) == "content_type_wrong"


def test_wrong_fields_are_named_and_values_are_not(client: FlaskClient) -> None:
    response = post(client, json.dumps(GOOD | {"challenge_id": "secret-value"}).encode())
    assert response.get_json()["fields"] == ["challenge_id"]
    assert "secret-value" not in response.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ORIGIN + ":8443"},
        {"Origin": "http://login.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
@pytest.mark.parametrize("path", ["/auth/challenge", "/auth/login", "/auth/logout", "/auth/error"])
def test_a_request_of_another_site_is_refused(
    client: FlaskClient, headers: dict[str, str], path: str
) -> None:
    response = client.post(path, json={}, headers=headers, base_url=ORIGIN)
    assert code_of(response) == "cross_site_request"
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": ORIGIN}, {"Sec-Fetch-Site": "same-origin", "Origin": ORIGIN}]
)
def test_our_own_page_and_a_program_may_ask(client: FlaskClient, headers: dict[str, str]) -> None:
    response = client.post("/auth/challenge", json={}, headers=headers, base_url=ORIGIN)
    assert response.status_code == 200


class Loose(BaseModel):
    """Any object."""

    model_config = ConfigDict(extra="allow")


@pytest.fixture(scope="module")
def loose() -> FlaskClient:
    app = Flask("loose")

    @app.post("/")
    def take() -> Response:
        return jsonify(read_json(request, 1_000, Loose).model_dump())

    install_problem_handlers(app)
    return app.test_client()


@given(body=st.binary(max_size=200))
def test_any_bytes_give_an_object_or_a_named_refusal(body: bytes) -> None:
    try:
        value = parse_object(body)
    except BodyError:
        return
    assert isinstance(value, dict)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=4))
def test_any_shallow_object_comes_through_unchanged(value: dict[str, object]) -> None:
    try:
        parsed = parse_object(json.dumps(value).encode())
    except JsonTooDeep:
        return
    assert parsed == value


def test_depth_counts_brackets_and_not_those_in_strings() -> None:
    deepest = '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH
    assert parse_object(deepest.encode())
    assert parse_object(json.dumps({"a": '[{"\\' * 100}).encode())
    with pytest.raises(JsonTooDeep):
        parse_object(('{"a":' + deepest + "}").encode())


def test_a_duplicate_key_is_seen_at_any_depth() -> None:
    with pytest.raises(JsonDuplicateKey):
        parse_object(b'{"a": [{"b": 1, "b": 2}]}')


@pytest.mark.parametrize(
    ("size", "status"), [(1_000, 200), (1_001, 413), (1_002, 413), (5_000, 413)]
)
@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}])
def test_a_body_is_bounded_to_the_byte_with_and_without_a_length(
    loose: FlaskClient, size: int, status: int, headers: dict[str, str]
) -> None:
    # Spaces at the end: cut off at the limit, it would still be JSON.
    response = loose.post(
        "/",
        input_stream=io.BytesIO(b'{"a": 1}'.ljust(size)),
        content_type="application/json",
        content_length=None if headers else size,
        headers=headers,
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert response.status_code == status
    if status == 413:
        assert code_of(response) == "body_too_large"


@pytest.mark.parametrize("terminated", [False, True])
@pytest.mark.parametrize(("sent", "length"), [(b'{"a": 1}', 100), (b"", 8), (b"{}", 3)])
def test_a_body_cut_short_is_refused(
    loose: FlaskClient, sent: bytes, length: int, terminated: bool
) -> None:
    # What arrived may well be JSON: the client meant to send more.
    environ: dict[str, object] = {"CONTENT_LENGTH": str(length)}
    if terminated:
        environ["wsgi.input_terminated"] = True
    response = loose.post(
        "/",
        input_stream=io.BytesIO(sent),
        content_type="application/json",
        environ_overrides=environ,
    )
    assert code_of(response) == "body_incomplete"
    assert response.status_code == 400
