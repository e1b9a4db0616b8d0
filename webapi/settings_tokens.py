"""[tokens.<zone>]: the tokens that hold the keys."""

from typing import Literal, Self

from pydantic import Field, model_validator

from webapi.settings_base import ResolvedPath, Section

Zone = Literal["login", "receipts", "pki", "audit"]
"""Key zones, each a token with its own PIN (design, section 3)."""


_OVERRIDES = "env:TAMGA_"

_SOFTWARE_MODULES = ("softhsm", "p11-kit")
"""Software tokens, and p11-kit's proxy and client, which lead to any module."""


class ReplicaSettings(Section):
    """[[tokens.<zone>.replicas]]: one PKCS#11 token more, with the same keys."""

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

    @property
    def names_software(self) -> bool:
        """Whether the path, or what a symbolic link hides behind it, names a software token."""
        paths = f"{self.module} {self.module.resolve()}".lower()
        return any(name in paths for name in _SOFTWARE_MODULES)


class TokenSettings(ReplicaSettings):
    """[tokens.<zone>]: a zone's PKCS#11 token, and those that hold the same keys beside it."""

    pin_latch_directory: ResolvedPath = Field(
        description="folder where a wrong PIN is remembered, shared by all processes"
    )
    sessions: int = Field(
        default=4, ge=1, le=64, description="pooled token sessions per process, 1 to 64"
    )
    wait_seconds: float = Field(
        default=5.0, gt=0, le=60, description="longest wait for a free token session"
    )
    max_waiting: int = Field(
        default=64, ge=0, le=1_024, description="threads that wait for one at once; others are told"
    )
    call_seconds: float = Field(
        default=15.0,
        gt=0,
        le=300,
        description="longest time in the token, beyond which a call counts as hung",
    )
    replicas: tuple[ReplicaSettings, ...] = Field(
        default=(), max_length=8, description="other tokens with the same keys, an HSM cluster"
    )

    @property
    def tokens(self) -> tuple[ReplicaSettings, ...]:
        """All of the zone, the first one first."""
        return (self, *self.replicas)

    @property
    def fail_over_seconds(self) -> float:
        """How long other tokens are asked for one signature: one that hangs leaves time for one.

        A token is known to hang after `wait_seconds` and `call_seconds`.
        """
        return 2 * (self.wait_seconds + self.call_seconds)

    @model_validator(mode="after")
    def _replicas_are_other_tokens(self) -> Self:
        places = [(token.module, token.token) for token in self.tokens]
        if len(set(places)) < len(places):
            raise ValueError("a replica is the zone's own token, or another replica: name another")
        return self
