"""The members of a signed request, read one by one; whatever is not as prescribed is refused."""

import re
from collections.abc import Mapping
from typing import Final

from signer.receipts.errors import RequestMalformed
from signer.receipts.leaf import DIGEST_BYTES

_SUBMISSION_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
_HEX_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MAX_COUNT: Final = 2**53 - 1  # what every JSON reader keeps exact (RFC 8259, section 6)

MAX_BATCH = 1000
"""Ballots in one request."""

Claims = Mapping[str, object]


def require_members(claims: Claims, names: frozenset[str]) -> None:
    """Raises RequestMalformed unless the claims have exactly these members."""
    if claims.keys() != names:
        raise RequestMalformed(f"the request has exactly these members: {sorted(names)}")


def text_of(claims: Claims, name: str) -> str:
    """A member that is text; raises RequestMalformed."""
    value = claims[name]
    if not isinstance(value, str):
        raise RequestMalformed(f"{name} is text")
    return value


def number_of(claims: Claims, name: str) -> int:
    """A member that is a number from 0 to 2**53 - 1; raises RequestMalformed."""
    value = claims[name]
    if type(value) is not int or not 0 <= value <= _MAX_COUNT:
        raise RequestMalformed(f"{name} is a number that is not negative")
    return value


def digest(value: object, name: str) -> bytes:
    """32 bytes, written in lower-case hexadecimal; raises RequestMalformed, which says `name`."""
    if not isinstance(value, str) or _HEX_DIGEST.fullmatch(value) is None:
        raise RequestMalformed(f"{name} is {DIGEST_BYTES} bytes in lower-case hexadecimal")
    return bytes.fromhex(value)


def submission_id(value: object) -> str:
    """A submission id; raises RequestMalformed."""
    if not isinstance(value, str) or not is_submission_id(value):
        raise RequestMalformed("submission_id is 16 to 64 of A-Z, a-z, 0-9, - and _")
    return value


def is_submission_id(text: str) -> bool:
    """Whether the text has the form of a submission id."""
    return _SUBMISSION_ID.fullmatch(text) is not None


def ballots_of(claims: Claims) -> tuple[tuple[str, bytes], ...]:
    """The ballots of a batch: submission ids, strictly ascending, with 32 bytes each.

    The request is kept, so its order must not tell in which order voters came.

    Raises:
        RequestMalformed: the member `ballots` is not 1 to MAX_BATCH lists of two, or they are
            in another order.
    """
    value = claims["ballots"]
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_BATCH:
        raise RequestMalformed(f"ballots is a list of 1 to {MAX_BATCH}")
    ballots: list[tuple[str, bytes]] = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2:
            raise RequestMalformed("a ballot is a list of submission_id and ballot_sha256")
        name = submission_id(item[0])
        if ballots and ballots[-1][0] >= name:
            raise RequestMalformed("ballots ascend by submission_id, and none occurs twice")
        ballots.append((name, digest(item[1], "ballot_sha256")))
    return tuple(ballots)
