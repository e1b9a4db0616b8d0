"""The table of an issuer profile's keys, out of the types: `python -m tests.support.profile_table`.

Writes it between the marks of docs/issuer-profiles.md; a test compares.
"""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from webapi.settings_trust import IssuerSettings

PAGE = Path(__file__).parents[2] / "docs" / "issuer-profiles.md"
BEGIN, END = "<!-- table of keys: begin -->", "<!-- table of keys: end -->"
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}


def table() -> str:
    """Markdown, a row for each key."""
    rows = ["| key | value | if left out | what it says |", "|---|---|---|---|"]
    for name, field in IssuerSettings.model_fields.items():
        rows.append(
            f"| `{name}` | {_kind(field.annotation)}{_limits(field)} | {_default(field)} "
            f"| {field.description} |"
        )
    return "\n".join(rows)


def page_with(page: str, keys: str) -> str:
    """The page with this table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{keys}\n{END}{after}"


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    if origin in {Union, UnionType}:
        return " or ".join(_kind(a) for a in arguments if a is not type(None))
    return _NAMES[annotation]


def _limits(field: FieldInfo) -> str:
    limits = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("ge", "gt", "le", "min_length", "max_length")
        if getattr(item, name, None) is not None
    }
    told = []
    if "gt" in limits:
        told.append(f"above {limits['gt']}")
    if "ge" in limits:
        told.append(f"from {limits['ge']}")
    if "le" in limits:
        told.append(f"to {limits['le']}")
    if limits.get("min_length"):
        told.append("not empty")
    return f", {' '.join(told)}" if told else ""


def _default(field: FieldInfo) -> str:
    match field.default:
        case _ if field.default is PydanticUndefined:
            return "must be there"
        case None | ():
            return "none"
        case bool() as flag:
            return f"`{str(flag).lower()}`"
        case tuple() as values:
            return ", ".join(f"`{value}`" for value in values)
        case value:
            return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), table()), encoding="utf-8")
