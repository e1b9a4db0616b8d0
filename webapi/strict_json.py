"""Request bodies read strictly: one type, a size limit, UTF-8, no duplicate keys, bounded depth.

Everything a client can get wrong has an error class of its own; nothing of what was sent is
repeated in it, save the names of wrong fields.
"""

import json
from typing import Any, Never, TypeVar

from flask import Request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

MAX_DEPTH = 16
"""Nested objects and lists allowed in a JSON body."""

MAX_REPORTED_FIELDS = 10
"""Names of wrong fields told to the client, at most."""

Model = TypeVar("Model", bound=BaseModel)


class BodyError(Exception):
    """Root of the errors of a request body."""


class ContentTypeWrong(BodyError):
    """The Content-Type is not the one that this route takes."""


class BodyTooLarge(BodyError):
    """The body is larger than this route allows."""


class BodyIncomplete(BodyError):
    """Fewer bytes arrived than the Content-Length promised (RFC 9112 section 8)."""


class BodyNotUtf8(BodyError):
    """The body is not UTF-8, or holds half of a surrogate pair."""


class JsonMalformed(BodyError):
    """The body is not JSON (RFC 8259), or not one object."""


class JsonDuplicateKey(BodyError):
    """A JSON object names a member twice, so that two readers could read two requests."""


class JsonTooDeep(BodyError):
    """The JSON is nested deeper than MAX_DEPTH."""


class JsonShapeWrong(BodyError):
    """The JSON lacks a member, has an unknown one, or one of the wrong type.

    Attributes:
        fields: dotted names of the wrong members, at most MAX_REPORTED_FIELDS.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        super().__init__(f"wrong members: {', '.join(fields)}")
        self.fields = fields


def read_body(request: Request, content_type: str, max_bytes: int) -> bytes:
    """The raw body, if its media type is `content_type` and it has at most `max_bytes`.

    Raises:
        ContentTypeWrong: another media type, a charset other than UTF-8, a content coding.
        BodyTooLarge: by its Content-Length or by what arrived.
        BodyIncomplete: what arrived is not as long as its Content-Length.
    """
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != content_type or charset != "utf-8" or request.content_encoding:
        raise ContentTypeWrong(f"expected {content_type}")
    # One byte more than allowed: a body of unknown length is cut off at the limit without a word.
    request.max_content_length = max_bytes + 1
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge as e:
        raise BodyTooLarge(f"more than {max_bytes} bytes") from e
    except ClientDisconnected as e:
        raise BodyIncomplete("the client went away") from e
    if len(body) > max_bytes:
        raise BodyTooLarge(f"more than {max_bytes} bytes")
    # A server that ends the stream itself ends it without a word when the client goes away.
    if request.content_length not in {None, len(body)}:
        raise BodyIncomplete(f"{len(body)} bytes instead of {request.content_length}")
    return body


def read_json(request: Request, max_bytes: int, model: type[Model]) -> Model:
    """The body as a `model`, whose own configuration says what is strict and forbidden.

    Raises:
        BodyError: one of its subclasses, named for the fact.
    """
    body = read_body(request, "application/json", max_bytes)
    value = parse_object(body)
    try:
        return model.model_validate(value)
    except ValidationError as e:
        # `from None`: pydantic's error repeats the input.
        raise JsonShapeWrong(_wrong_fields(e)) from None


def parse_object(body: bytes) -> dict[str, Any]:
    """One JSON object; the values are of any JSON type, so `Any`.

    Raises:
        BodyNotUtf8, JsonTooDeep, JsonDuplicateKey, JsonMalformed: as they say.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as e:
        raise BodyNotUtf8("the body is not UTF-8") from e
    _refuse_depth(text)
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except ValueError as e:
        raise JsonMalformed("the body is not JSON") from e
    if not isinstance(value, dict):
        raise JsonMalformed("the body is not a JSON object")
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as e:
        # "\ud800" alone is legal JSON text but no character.
        raise BodyNotUtf8("a string holds half of a surrogate pair") from e
    return value


def _refuse_depth(text: str) -> None:
    # Before parsing: the parser's own limit is the interpreter's recursion limit.
    depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise JsonTooDeep(f"nested deeper than {MAX_DEPTH}")
        elif character in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JsonDuplicateKey("a member is named twice")
    return value


def _refuse_constant(_name: str) -> Never:
    raise JsonMalformed("NaN and Infinity are not JSON")


def _wrong_fields(error: ValidationError) -> tuple[str, ...]:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    names = [".".join(str(part)[:64] for part in item["loc"]) for item in found]
    return tuple(dict.fromkeys(names))[:MAX_REPORTED_FIELDS]
