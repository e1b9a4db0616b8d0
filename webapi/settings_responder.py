"""What can be configured about our own responder."""

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from webapi.settings_base import Port, ResolvedPath, Section


class OcspListenerSettings(Section):
    """[ocsp_listener]: the plain-HTTP listener that answers for one CA."""

    listen_host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    listen_port: Port = Field(default=8480, description="TCP port to listen on, 1 to 65535")
    workers: int = Field(default=1, ge=1, le=64, description="listener processes, 1 to 64")
    ca: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="short name of the CA, as in its URL"
    )
    ca_certificate: ResolvedPath = Field(description="DER or PEM certificate of the CA")
    delegate_certificate: ResolvedPath = Field(
        description="DER or PEM certificate of the OCSP delegate that the CA issued"
    )
    answer_life_seconds: int = Field(
        default=60,
        ge=1,
        le=604_800,
        description="thisUpdate to nextUpdate of an answer signed when asked for, 1 to 604800",
    )
    presigned_life_seconds: int = Field(
        default=3_600,
        ge=60,
        le=864_000,
        description="thisUpdate to nextUpdate of an answer signed beforehand, 60 to 864000",
    )

    requests_per_source_burst: int = Field(
        default=2_000, ge=1, le=1_000_000, description="requests one address may send at once"
    )
    requests_per_source_per_minute: float = Field(
        default=12_000.0, gt=0, le=6_000_000, description="requests one address may send per minute"
    )

    crl_certificate: ResolvedPath | None = Field(
        default=None,
        description="DER or PEM certificate of the key of revocation lists; without it none",
    )
    crl_life_seconds: int = Field(
        default=86_400,
        ge=600,
        le=864_000,
        description="thisUpdate to nextUpdate of a revocation list, 600 to 864000",
    )
    crl_deltas: bool = Field(
        default=False, description="publish delta lists beside the complete ones"
    )
    public_url: str = Field(
        default="",
        pattern=r"^(http://[^/\s]+)?$",
        description="http://host[:port] of this listener, named in lists",
    )

    @model_validator(mode="after")
    def _name_is_no_lists(self) -> Self:
        if self.ca.startswith("crl-"):
            raise ValueError("lists' keys are called crl-...: choose another name for ca")
        return self

    @model_validator(mode="after")
    def _deltas_have_an_address(self) -> Self:
        if self.crl_deltas and not self.public_url:
            raise ValueError("crl_deltas needs public_url: complete lists say where deltas are")
        return self

    @property
    def delta_url(self) -> str | None:
        """Where delta lists are; None if none are made."""
        return f"{self.public_url}/crl/{self.ca}.delta.crl" if self.crl_deltas else None

    @property
    def crl_life(self) -> timedelta:
        """From thisUpdate to nextUpdate of a revocation list."""
        return timedelta(seconds=self.crl_life_seconds)

    @property
    def answer_life(self) -> timedelta:
        """From thisUpdate to nextUpdate of an answer that is signed when it is asked for."""
        return timedelta(seconds=self.answer_life_seconds)

    @property
    def presigned_life(self) -> timedelta:
        """From thisUpdate to nextUpdate of an answer that is signed beforehand."""
        return timedelta(seconds=self.presigned_life_seconds)
