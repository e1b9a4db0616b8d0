"""What the election system asks, signed by its own key: register, fetch, close.

Each request is a compact JWS of a type of its own, so that none passes for another.
The sealed types are made by the verifying functions alone.
"""

import re
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Never, Self

from cryptography.hazmat.primitives.asymmetric import ec

from signer.receipts.errors import (
    RequestExpired,
    RequestMalformed,
    RequestMisdirected,
    RequestTimeWrong,
)
from signer.receipts.jws import parse_jws, sign_jws, verify_jws
from signer.receipts.leaf import DIGEST_BYTES, SLOT_SECONDS
from signer.receipts.merkle import EMPTY_ROOT

REGISTRATION_TYPE = "tamga-registration+jwt"
RECEIPT_REQUEST_TYPE = "tamga-receipt-request+jwt"
CLOSE_TYPE = "tamga-close+jwt"

CLOCK_SKEW = timedelta(minutes=5)
RECEIPT_REQUEST_LIFE = timedelta(seconds=300)

_SEAL = object()
_SUBMISSION_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_COUNT = 2**53 - 1  # what every JSON reader keeps exact (RFC 8259, section 6)


@dataclass(frozen=True, slots=True)
class ElectionSystem:
    """Whose requests are believed, and by whom.

    Attributes:
        election_id: the election.
        key: the election system's P-256 key, from the manifest.
        audience: this service's origin, as requests must state it.
    """

    election_id: str
    key: ec.EllipticCurvePublicKey = field(compare=False, repr=False)
    audience: str


@dataclass(frozen=True, slots=True)
class UnverifiedRegistration:
    """A registration as it came, well-formed.

    Attributes:
        jws: the request's bytes, kept as evidence.
        audience, election_id: whom and what it says it is for.
        submission_id: 16 to 64 characters of A-Z, a-z, 0-9, hyphen and underscore.
        ballot_sha256: 32 bytes.
        issued_at: unix seconds, a multiple of 600.
    """

    jws: bytes = field(repr=False)
    audience: str
    election_id: str
    submission_id: str
    ballot_sha256: bytes
    issued_at: int

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read a registration.

        Raises:
            RequestMalformed: the bytes are not one.
            RequestTimeWrong: its time is more exact than ten minutes.
        """
        claims = _claims(
            body,
            REGISTRATION_TYPE,
            {"aud", "election_id", "submission_id", "ballot_sha256", "iat"},
        )
        issued_at = _number(claims, "iat")
        # The request is kept beside the submission's id, so it must not tell the second.
        if issued_at % SLOT_SECONDS:
            raise RequestTimeWrong("iat is rounded down to ten minutes")
        return cls(
            jws=body,
            audience=_text(claims, "aud"),
            election_id=_text(claims, "election_id"),
            submission_id=_submission_id(claims),
            ballot_sha256=_digest(claims, "ballot_sha256"),
            issued_at=issued_at,
        )


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration that the election system signed; made by `verify_registration` alone.

    Attributes:
        election_id: the election.
        submission_id: unique with the election.
        ballot_sha256: 32 bytes.
        evidence: the signed request.
    """

    election_id: str
    submission_id: str
    ballot_sha256: bytes
    evidence: bytes = field(repr=False)
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a Registration is made by verify_registration() alone")

    def __reduce__(self) -> Never:
        raise TypeError("a Registration cannot be pickled")


@dataclass(frozen=True, slots=True)
class ReceiptRequest:
    """The right to fetch one receipt, for five minutes; made by `verify_receipt_request`."""

    election_id: str
    submission_id: str
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a ReceiptRequest is made by verify_receipt_request() alone")

    def __reduce__(self) -> Never:
        raise TypeError("a ReceiptRequest cannot be pickled")


@dataclass(frozen=True, slots=True)
class CloseOrder:
    """The election system's order to close; made by `verify_close` alone.

    Attributes:
        election_id: the election.
        no_vote_root: 32 bytes; SHA-256 of nothing where the manifest has no such proof.
        no_vote_size: number of leaves of that tree.
        evidence: the signed request.
    """

    election_id: str
    no_vote_root: bytes
    no_vote_size: int
    evidence: bytes = field(repr=False)
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a CloseOrder is made by verify_close() alone")

    def __reduce__(self) -> Never:
        raise TypeError("a CloseOrder cannot be pickled")


def verify_registration(
    unverified_registration: UnverifiedRegistration, system: ElectionSystem, *, at: datetime
) -> Registration:
    """Check a registration: signature, addressee, time.

    A request is good for any length of time: registering is idempotent, and a lawful
    retry may come after the election.

    Raises:
        RequestSignatureInvalid, RequestMisdirected, RequestTimeWrong: as they say.
    """
    unverified = unverified_registration
    verify_jws(unverified.jws, system.key)
    _check_addressee(unverified.audience, unverified.election_id, system)
    _check_not_future(unverified.issued_at, at)
    return Registration(
        unverified.election_id,
        unverified.submission_id,
        unverified.ballot_sha256,
        unverified.jws,
        _SEAL,
    )


def verify_receipt_request(
    unverified_token: bytes, submission_id: str, system: ElectionSystem, *, at: datetime
) -> ReceiptRequest:
    """Check a bearer token that asks for the receipt of one submission.

    Raises:
        RequestMalformed, RequestSignatureInvalid, RequestMisdirected, RequestTimeWrong,
            RequestExpired: as they say.
    """
    claims = _claims(
        unverified_token,
        RECEIPT_REQUEST_TYPE,
        {"aud", "election_id", "submission_id", "iat", "exp"},
    )
    issued_at, expires_at = _number(claims, "iat"), _number(claims, "exp")
    verify_jws(unverified_token, system.key)
    _check_addressee(_text(claims, "aud"), _text(claims, "election_id"), system)
    if _submission_id(claims) != submission_id:
        raise RequestMisdirected("the token is for another submission")
    _check_not_future(issued_at, at)
    if not 0 < expires_at - issued_at <= RECEIPT_REQUEST_LIFE.total_seconds():
        raise RequestTimeWrong("the token is good for too long, or for no time")
    if at.timestamp() >= expires_at:
        raise RequestExpired("the token's time is over")
    return ReceiptRequest(system.election_id, submission_id, _SEAL)


def verify_close(
    unverified_order: bytes, system: ElectionSystem, *, no_vote_proof: bool, at: datetime
) -> CloseOrder:
    """Check an order to close.

    Args:
        unverified_order: compact JWS.
        system: whose order is obeyed.
        no_vote_proof: whether the manifest says that there is a tree of those who voted.
        at: now.

    Raises:
        RequestMalformed, RequestSignatureInvalid, RequestMisdirected, RequestTimeWrong:
            as they say.
    """
    claims = _claims(
        unverified_order,
        CLOSE_TYPE,
        {"aud", "election_id", "no_vote_root", "no_vote_size", "iat"},
    )
    root, size = _digest(claims, "no_vote_root"), _number(claims, "no_vote_size")
    verify_jws(unverified_order, system.key)
    _check_addressee(_text(claims, "aud"), _text(claims, "election_id"), system)
    _check_not_future(_number(claims, "iat"), at)
    if not no_vote_proof and (size, root) != (0, EMPTY_ROOT):
        raise RequestMalformed("this election has no tree of voters: size 0, the empty root")
    if size == 0 and root != EMPTY_ROOT:
        raise RequestMalformed("a tree without leaves has the empty root")
    return CloseOrder(system.election_id, root, size, unverified_order, _SEAL)


def sign_registration(
    *,
    private_key: ec.EllipticCurvePrivateKey,
    audience: str,
    election_id: str,
    submission_id: str,
    ballot_sha256: bytes,
    at: datetime,
) -> str:
    """The election system's side: ask for a ballot to be registered."""
    second = int(at.timestamp())
    claims = {
        "aud": audience,
        "election_id": election_id,
        "submission_id": submission_id,
        "ballot_sha256": ballot_sha256.hex(),
        "iat": second - second % SLOT_SECONDS,
    }
    return sign_jws(claims, typ=REGISTRATION_TYPE, private_key=private_key)


def sign_receipt_request(
    *,
    private_key: ec.EllipticCurvePrivateKey,
    audience: str,
    election_id: str,
    submission_id: str,
    at: datetime,
) -> str:
    """The election system's side: ask for a receipt."""
    issued_at = int(at.timestamp())
    claims = {
        "aud": audience,
        "election_id": election_id,
        "submission_id": submission_id,
        "iat": issued_at,
        "exp": issued_at + int(RECEIPT_REQUEST_LIFE.total_seconds()),
    }
    return sign_jws(claims, typ=RECEIPT_REQUEST_TYPE, private_key=private_key)


def sign_close(
    *,
    private_key: ec.EllipticCurvePrivateKey,
    audience: str,
    election_id: str,
    no_vote_root: bytes,
    no_vote_size: int,
    at: datetime,
) -> str:
    """The election system's side: order the election to be closed."""
    claims = {
        "aud": audience,
        "election_id": election_id,
        "no_vote_root": no_vote_root.hex(),
        "no_vote_size": no_vote_size,
        "iat": int(at.timestamp()),
    }
    return sign_jws(claims, typ=CLOSE_TYPE, private_key=private_key)


def is_submission_id(text: str) -> bool:
    """Whether the text has the form of a submission id."""
    return _SUBMISSION_ID.fullmatch(text) is not None


def _claims(body: bytes, typ: str, names: set[str]) -> Mapping[str, object]:
    claims = parse_jws(body, typ=typ)
    if claims.keys() != names:
        raise RequestMalformed(f"the request has exactly these members: {sorted(names)}")
    return claims


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str):
        raise RequestMalformed(f"{name} is text")
    return value


def _number(claims: Mapping[str, object], name: str) -> int:
    value = claims[name]
    if type(value) is not int or not 0 <= value <= _MAX_COUNT:
        raise RequestMalformed(f"{name} is a number that is not negative")
    return value


def _digest(claims: Mapping[str, object], name: str) -> bytes:
    text = _text(claims, name)
    if _HEX_DIGEST.fullmatch(text) is None:
        raise RequestMalformed(f"{name} is {DIGEST_BYTES} bytes in lower-case hexadecimal")
    return bytes.fromhex(text)


def _submission_id(claims: Mapping[str, object]) -> str:
    text = _text(claims, "submission_id")
    if not is_submission_id(text):
        raise RequestMalformed("submission_id is 16 to 64 of A-Z, a-z, 0-9, - and _")
    return text


def _check_addressee(audience: str, election_id: str, system: ElectionSystem) -> None:
    if audience != system.audience:
        raise RequestMisdirected("the request is for another service")
    if election_id != system.election_id:
        raise RequestMisdirected("the request is for another election")


def _check_not_future(issued_at: int, at: datetime) -> None:
    if issued_at > (at + CLOCK_SKEW).timestamp():
        raise RequestTimeWrong("the request comes from the future")
