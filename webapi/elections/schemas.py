"""The answers of the election routes; the documentation is generated from the same types."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RegisteredAnswer(_Answer):
    """The ballot is in the log, and its receipt is ready."""

    status: Literal["registered"] = "registered"
    submission_id: str
    index: int = Field(description="position in the log; for the voter alone")
    receipt: str = Field(description="the receipt file's text (tlog-proof), byte for byte")


class PendingAnswer(_Answer):
    """The ballot is stored; its receipt is fetched from the Location."""

    status: Literal["pending"] = "pending"
    submission_id: str


class RefusedBallot(_Answer):
    """This ballot was not registered; the others of its request are judged by themselves."""

    status: Literal["conflict", "over", "not_yet_open", "failed"] = Field(
        description="another ballot has this id; the election takes no new ballots any more, or "
        "yet; the service failed with this ballot alone, so that it should be sent again"
    )
    submission_id: str


class BatchAnswer(_Answer):
    """What became of each ballot, in the request's order; the request may be repeated."""

    ballots: list[RegisteredAnswer | PendingAnswer | RefusedBallot]


class ClosedAnswer(_Answer):
    """The log has ended."""

    status: Literal["closed"] = "closed"
    size: int = Field(description="number of entries, genesis and close record included")
    checkpoint: str = Field(description="the signed closing checkpoint")


class ClosingAnswer(_Answer):
    """The order is stored; what is pending goes into the log first. Repeat the order."""

    status: Literal["closing"] = "closing"


class ElectionSummary(_Answer):
    """An election in the list."""

    election_id: str
    title: str
    origin: str = Field(description="the log's name")
    opens_at: str = Field(description="RFC 3339, UTC")
    closes_at: str = Field(description="RFC 3339, UTC")
    closed: bool = Field(description="whether the public log ends with the close record")


class ElectionDetails(ElectionSummary):
    """An election with its manifest."""

    published_size: int | None = Field(
        description="number of public entries; null while the log is on hold"
    )
    manifest: str = Field(description="the manifest's text, byte for byte (UTF-8)")
    manifest_sha256: str = Field(description="lowercase hexadecimal; every entry states it")
    policy_sha256: str = Field(description="fingerprint of /log/{election_id}/policy")


class ElectionList(_Answer):
    """All elections of this service."""

    elections: list[ElectionSummary]
