"""What a page asks of the agent: the ``authenticate`` command's arguments."""

import json
from dataclasses import dataclass

from pkcs11_bridge.agent.errors import RequestInvalid

MAX_REQUEST_BYTES = 8192
_REQUIRED = {"challengeNonce", "origin"}
_OPTIONAL = {"lang"}


@dataclass(frozen=True, slots=True)
class AuthenticateRequest:
    """The nonce and the origin, as the browser's extension passes them on; not judged yet."""

    unverified_nonce: str
    unverified_origin: str
    language: str | None = None
    """The page's language, a tag; None if the page says nothing."""

    @classmethod
    def parse(cls, unverified_text: str) -> "AuthenticateRequest":
        """Read ``{"challengeNonce", "origin"}`` (and ``lang``); other members are refused.

        Raises:
            RequestInvalid: over 8192 bytes, not such a JSON object, or a member stands twice.
        """
        if len(unverified_text.encode("utf-8", "surrogateescape")) > MAX_REQUEST_BYTES:
            raise RequestInvalid("the request is over 8192 bytes")
        try:
            members = json.loads(unverified_text, object_pairs_hook=_unrepeated)
        except (ValueError, RecursionError) as e:
            raise RequestInvalid("the request is not JSON") from e
        if (
            not isinstance(members, dict)
            or not _REQUIRED <= members.keys() <= _REQUIRED | _OPTIONAL
        ):
            raise RequestInvalid("the request has the members challengeNonce and origin")
        if not all(isinstance(value, str) for value in members.values()):
            raise RequestInvalid("the members of the request are text")
        return cls(
            unverified_nonce=members["challengeNonce"],
            unverified_origin=members["origin"],
            language=members.get("lang"),
        )


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members
