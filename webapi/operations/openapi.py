"""/openapi.json, generated from the registered routes and from the types that check bodies."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

_ATTRIBUTE = "tamga_operation"
_PARAMETER = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

View = TypeVar("View", bound=Callable[..., Any])
Schema = dict[str, Any]
"""A fragment of JSON: its values are of any JSON type."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route says about itself.

    Attributes:
        summary: one line.
        body: type of the JSON body, None without one.
        body_type: media type of the body.
        answer: type of the JSON answer, None for another kind.
        status: of the answer.
    """

    summary: str
    body: type[BaseModel] | None = None
    body_type: str = "application/json"
    answer: type[BaseModel] | None = None
    status: int = 200


def operation(
    summary: str,
    *,
    body: type[BaseModel] | None = None,
    body_type: str = "application/json",
    answer: type[BaseModel] | None = None,
    status: int = 200,
) -> Callable[[View], View]:
    """Describe a view; write it directly above the function, below the route."""
    described = Operation(summary, body, body_type, answer, status)

    def attach(view: View) -> View:
        setattr(view, _ATTRIBUTE, described)
        return view

    return attach


def describe(app: Flask, *, origin: str, version: str) -> Schema:
    """The OpenAPI 3.1 document of every described route."""
    described = [
        (rule, operation)
        for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
        if (operation := _operation_of(app, rule)) is not None
    ]
    schemas = _schemas([operation for _, operation in described])
    paths: dict[str, Schema] = {}
    for rule, operation in described:
        item = paths.setdefault(_PARAMETER.sub(r"{\1}", rule.rule), {})
        for method in _METHODS:
            if method in (rule.methods or ()):
                item[method.lower()] = _entry(rule, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tamga", "version": version},
        "servers": [{"url": origin}],
        "paths": paths,
        "components": {"schemas": {**schemas, "Problem": _PROBLEM}},
    }


def _operation_of(app: Flask, rule: Rule) -> Operation | None:
    view = app.view_functions[rule.endpoint]
    found = getattr(view, _ATTRIBUTE, None)
    return found if isinstance(found, Operation) else None


def _schemas(operations: list[Operation]) -> Mapping[str, Schema]:
    models = {model for item in operations for model in (item.body, item.answer) if model}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, document = models_json_schema(
        [(model, "validation") for model in ordered], ref_template="#/components/schemas/{model}"
    )
    definitions: dict[str, Schema] = document.get("$defs", {})
    return definitions


def _entry(rule: Rule, operation: Operation) -> Schema:
    answer: Schema = {"description": "done"}
    if operation.answer is not None:
        answer["content"] = {"application/json": {"schema": _reference(operation.answer.__name__)}}
    problem = {"schema": _reference("Problem")}
    entry: Schema = {
        "operationId": rule.endpoint,
        "summary": operation.summary,
        "responses": {
            str(operation.status): answer,
            "default": {
                "description": "an error (RFC 9457)",
                "content": {"application/problem+json": problem},
            },
        },
    }
    names = _PARAMETER.findall(rule.rule)
    if names:
        entry["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    if operation.body is not None:
        schema = _reference(operation.body.__name__)
        entry["requestBody"] = {
            "required": True,
            "content": {operation.body_type: {"schema": schema}},
        }
    elif operation.body_type != "application/json":
        entry["requestBody"] = {
            "required": True,
            "content": {operation.body_type: {"schema": {"type": "string"}}},
        }
    return entry


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_PROBLEM: Schema = {
    "type": "object",
    "description": "RFC 9457 problem; some codes add members of their own",
    "required": ["type", "title", "status", "code", "detail", "next_step", "incident"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "next_step": {"type": "string"},
        "incident": {"type": "string"},
    },
}
