"""[tokens.<zone>]: the tokens that hold the keys."""

from typing import Literal, Self

from pydantic import Field, model_validator

from webapi.settings_base import ResolvedPath, Section

Zone = Literal["login", "receipts", "pki", "audit"]
"""Key zones, each a token with its own PIN (design, section 3)."""


_OVERRIDES = "env:TAMGA_"


class TokenSettings(Section):
    """[tokens.<zone>]: one PKCS#11 token."""

    module: ResolvedPath = Field(description="the PKCS#11 module, a shared library")
    token: str = Field(min_length=1, max_length=32, description="the token's label")
    pin_file: ResolvedPath | None = Field(
        default=None, description="file with the PIN, readable by its owner alone"
    )
    pin_source: str | None = Field(
        default=None,
        pattern=r"^(file:/.+|credential:[A-Za-z0-9_.-]+|env:[A-Za-z_]\w*|prompt|pinpad)$",
        description="instead of pin_file: file:/path, credential:name, env:NAME, prompt or pinpad",
    )
    pin_latch_directory: ResolvedPath = Field(
        description="folder where a wrong PIN is remembered, shared by all processes"
    )
    sessions: int = Field(
        default=4, ge=1, le=64, description="pooled token sessions per process, 1 to 64"
    )
    wait_seconds: float = Field(
        default=5.0, gt=0, le=60, description="longest wait for a free token session"
    )

    @model_validator(mode="after")
    def _names_one_source(self) -> Self:
        if (self.pin_file is None) == (self.pin_source is None):
            raise ValueError("the PIN has one source: name pin_file or pin_source")
        if (self.pin_source or "").startswith(_OVERRIDES):
            raise ValueError(
                "variables that begin with TAMGA_ are settings: call the PIN otherwise"
            )
        return self

    @property
    def pin_from(self) -> str:
        """Where the PIN comes from, as `pin_source` says it."""
        return self.pin_source or f"file:{self.pin_file}"
