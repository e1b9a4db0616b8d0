"""Settings from one TOML file, with overrides from the environment.

`TAMGA_<SECTION>__<KEY>` overrides a single value, for instance TAMGA_SERVICE__LISTEN_PORT or
TAMGA_TOKENS__LOGIN__PIN_FILE. A key that is not known is refused in either place: a misspelt
limit must not silently leave the default in force.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from webapi.settings_model import Settings
from webapi.settings_trust import IssuerSettings

PREFIX = "TAMGA_"
CONFIG_VARIABLE = "TAMGA_CONFIG"
"""Names the configuration file itself, so it is no override."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with the configuration.

    Attributes:
        key: dotted, as in the file: `service.origin`.
        wrong: what is wrong with it; never its value.
        remedy: what to do.
    """

    key: str
    wrong: str
    remedy: str


class ConfigurationWrong(Exception):
    """The configuration cannot be used.

    Attributes:
        findings: at least one.
    """

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        lines = [f"{finding.key}: {finding.wrong}. {finding.remedy}" for finding in findings]
        super().__init__("the configuration cannot be used\n  " + "\n  ".join(lines))
        self.findings = findings


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """Read, override, check.

    Args:
        path: the TOML file; relative paths in it (and in overrides) start at its folder.
        environ: usually `os.environ`; only names that begin with TAMGA_ are looked at.

    Raises:
        ConfigurationWrong: with every finding, none of which repeats a value.
    """
    values = _read_file(path)
    findings = [
        finding
        for name, value in sorted(environ.items())
        if name.startswith(PREFIX) and name != CONFIG_VARIABLE
        if (finding := _override(values, name, value)) is not None
    ]
    if findings:
        raise ConfigurationWrong(tuple(findings))
    base = path.absolute().parent
    _add_profiles(values, base)
    try:
        return Settings.model_validate(values, context={"base": base})
    except ValidationError as e:
        # `from None`: pydantic's own text would come along in a traceback.
        raise ConfigurationWrong(tuple(map(_finding, _details(e)))) from None


def _add_profiles(values: dict[str, Any], base: Path) -> None:
    """Put the issuers of the profile files among those of the settings file.

    Relative paths in a profile start at its own folder.
    """
    trust = values.get("trust")
    profiles = trust.get("profiles") if isinstance(trust, dict) else None
    if not isinstance(trust, dict) or not isinstance(profiles, list):
        return
    issuers = trust.setdefault("issuers", [])
    for name in profiles:
        # Anything else is refused with the other settings.
        if isinstance(name, str) and isinstance(issuers, list):
            issuers.append(read_issuer_profile(base / Path(name).expanduser()))


def read_issuer_profile(path: Path) -> IssuerSettings:
    """One issuer's profile from a file of its own (docs/issuer-profiles.md).

    Raises:
        ConfigurationWrong: with every finding, none of which repeats a value.
    """
    values = _read_file(path)
    try:
        return IssuerSettings.model_validate(values, context={"base": path.absolute().parent})
    except ValidationError as e:
        found = [_finding(detail, ("trust", "issuers", 0)) for detail in _details(e)]
        raise ConfigurationWrong(
            tuple(Finding(f"{path}: {f.key}", f.wrong, f.remedy) for f in found)
        ) from None


def _details(error: ValidationError) -> list[ErrorDetails]:
    return _without_echoes(error.errors(include_input=False, include_url=False))


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        wrong = f"cannot be read ({e.strerror})"
        raise ConfigurationWrong(
            (
                Finding(
                    str(path),
                    wrong,
                    "Name the right one with --config; `tamga init` makes one for development.",
                ),
            )
        ) from e
    except ValueError:
        # The parser's message could show a value of the line.
        remedy = 'Correct its syntax; keys and texts look like name = "text".'
        raise ConfigurationWrong((Finding(str(path), "is not TOML", remedy),)) from None


def _override(values: dict[str, Any], name: str, value: str) -> Finding | None:
    *sections, key = name.removeprefix(PREFIX).lower().split("__")
    if not sections or not all([*sections, key]):
        remedy = f"Name it {PREFIX}<SECTION>__<KEY>, or remove it."
        return Finding(name, "is not the name of a setting", remedy)
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            return Finding(name, "goes through a value that is no section", "Remove it.")
    table[key] = value
    return None


def _without_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Without "too short" for a list whose one item is wrong: pydantic counts it as absent."""
    return [
        detail
        for detail in details
        if detail["type"] != "too_short"
        or not any(_is_inside(other["loc"], detail["loc"]) for other in details)
    ]


def _is_inside(location: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(location) > len(outer) and location[: len(outer)] == outer


def _finding(detail: ErrorDetails, within: tuple[int | str, ...] = ()) -> Finding:
    key = ".".join(str(part) for part in detail["loc"] if part != "[key]") or "configuration"
    field = _describe(within + detail["loc"])
    match detail["type"]:
        case "missing":
            return Finding(key, "is missing", f"Add it: {field}.")
        case "extra_forbidden":
            return Finding(key, "is not a known key", "Correct its spelling or remove it.")
        case "value_error":
            wrong = detail["msg"].removeprefix("Value error, ")
            return Finding(key, wrong, f"Correct it: {field}.")
        case _:
            return Finding(key, detail["msg"][:1].lower() + detail["msg"][1:], f"It is {field}.")


def _describe(location: tuple[int | str, ...]) -> str:
    """The description of the field at that place, or of the nearest one above it."""
    found = "see the documentation of the configuration"
    model: Any = Settings
    for part in location:
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = model.model_fields.get(str(part))
            if field is not None:  # else a zone's name or the number of a list item
                found = field.description or found
                model = _inner_model(field.annotation)
    return found


def _inner_model(annotation: Any) -> Any:
    """The settings class inside `X | None`, `tuple[X, ...]` or `dict[Zone, X]`.

    Annotations are of many types, so `Any`; what holds no settings class is returned as it is.
    """
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument
    return annotation
