"""What all sections of the configuration have in common."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo


def resolve(path: Path, info: ValidationInfo) -> Path:
    """An absolute path; a relative one starts at the configuration file's folder."""
    base: Path = (info.context or {}).get("base", Path.cwd())
    return (base / path.expanduser()).absolute()


ResolvedPath = Annotated[Path, AfterValidator(resolve)]
"""A path; a relative one is taken from the folder of the configuration file."""

Port = Annotated[int, Field(ge=1, le=65_535)]


class Section(BaseModel):
    """A section: frozen, without unknown keys, its values never repeated in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
