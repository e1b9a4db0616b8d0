"""JSON objects read strictly: UTF-8, no member twice, no number that is not an integer."""

import json
from typing import Never


class JsonMalformed(ValueError):
    """The bytes are not one JSON object, read strictly."""


def parse_object(data: bytes) -> dict[str, object]:
    """The members of a JSON object (RFC 8259).

    The caller bounds the length; nesting deeper than the interpreter's stack is refused.

    Raises:
        JsonMalformed: another encoding, a member twice, NaN, a fraction, or no object.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_members,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError) as error:
        raise JsonMalformed("not a JSON object") from error
    if not isinstance(value, dict):
        raise JsonMalformed("not a JSON object")
    return value


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise JsonMalformed("a member occurs twice")
    return members


def _refuse(text: str) -> Never:
    raise JsonMalformed(f"{text} is not an integer")
