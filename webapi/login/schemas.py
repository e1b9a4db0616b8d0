"""The bodies of the login routes; the documentation is generated from the same types."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class EmptyBody(_Body):
    """An empty JSON object: its content type keeps plain HTML forms of other sites out."""


class ChallengeResponse(_Body):
    """A challenge for the card to sign."""

    challenge_id: str = Field(description="send it back with the token")
    nonce: str = Field(description="128 characters of base64, to be signed as text")
    origin: str = Field(description="the origin that the proof inside the nonce is for")
    expires_at: str = Field(description="RFC 3339, UTC; too late at this instant")


class LoginRequest(_Body):
    """A challenge answered: the Web eID token, under either usual name."""

    challenge_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    # The token's own shape is judged by signer.login.token, after the challenge is taken.
    auth_token: dict[str, Any] = Field(description="Web eID authentication token, web-eid:1.0")

    @model_validator(mode="before")
    @classmethod
    def _one_token(cls, value: Any) -> Any:
        # Pydantic gives whatever was parsed. Both names at once leave an unknown member behind,
        # which is refused.
        if isinstance(value, dict) and "authToken" in value and "auth_token" not in value:
            renamed = dict(value)
            renamed["auth_token"] = renamed.pop("authToken")
            return renamed
        return value


class OcspFacts(_Body):
    """Why the certificate was found good."""

    status: Literal["good"]
    responder: str
    this_update: str = Field(description="RFC 3339, UTC")


class SessionFacts(_Body):
    """Who is signed in."""

    subject: str
    display_name: str
    acr: str
    amr: list[str]
    certificate_sha256: str = Field(description="lowercase hexadecimal")
    authenticated_at: str = Field(description="RFC 3339, UTC")
    ends_at: str = Field(description="RFC 3339, UTC; earlier if unused")


class LoginResponse(SessionFacts):
    """A login that was accepted."""

    ocsp: OcspFacts


class ClientVersions(_Body):
    """What the citizen's computer runs, as far as the page could find out."""

    library: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,32}$")] | None = None
    extension: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,32}$")] | None = None
    native_app: Annotated[str, Field(pattern=r"^[0-9A-Za-z.+-]{1,32}$")] | None = None


class ClientFailure(_Body):
    """A failure on the citizen's computer; nothing in it can name a person."""

    code: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
    # ISO/IEC 7816-4 counts verification tries in four bits.
    tries_left: Annotated[int, Field(ge=0, le=15)] | None = None
    duration_milliseconds: Annotated[int, Field(ge=0, le=3_600_000)] | None = None
    versions: ClientVersions = ClientVersions()


class ClientFailureAdvice(_Body):
    """What the citizen can do about it."""

    code: str
    text: str = Field(description="in the language that Accept-Language prefers, mn or en")
    incident: str
    reportable: bool = Field(description="whether the operator can do something about it")
