"""What the election system asks, signed by its own key: register, fetch, close.

Each request is a compact JWS of a type of its own, so that none passes for another.
The sealed types are made by the verifying functions alone.
"""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Never, Self

from cryptography.hazmat.primitives.asymmetric import ec

from signer.receipts.claims import (
    MAX_BATCH,
    Claims,
    ballots_of,
    digest,
    number_of,
    require_members,
    submission_id,
    text_of,
)
from signer.receipts.errors import (
    RequestExpired,
    RequestMalformed,
    RequestMisdirected,
    RequestTimeWrong,
)
from signer.receipts.jws import (
    UnverifiedJws,
    parse_jws,
    sign_jws,
    thumbprint,
    verify_jws,
)
from signer.receipts.leaf import SLOT_SECONDS
from signer.receipts.merkle import EMPTY_ROOT

REGISTRATION_TYPE = "tamga-registration+jwt"
BATCH_TYPE = "tamga-registrations+jwt"
RECEIPT_REQUEST_TYPE = "tamga-receipt-request+jwt"
CLOSE_TYPE = "tamga-close+jwt"

CLOCK_SKEW = timedelta(minutes=5)
RECEIPT_REQUEST_LIFE = timedelta(seconds=300)

BATCH_HEAD_BYTES = 1_024
BALLOT_BYTES = 200
"""What one ballot of the longest id takes of a request, in base64url, and room to spare."""

MAX_BATCH_JWS_BYTES = BATCH_HEAD_BYTES + BALLOT_BYTES * MAX_BATCH

_SEAL = object()
_ADDRESSED = frozenset({"aud", "election_id", "iat"})


@dataclass(frozen=True, slots=True)
class ElectionSystem:
    """Whose requests are believed, and by whom.

    Attributes:
        election_id: the election.
        key: the election system's P-256 key, from the manifest.
        audience: this service's origin, as requests must state it.
        key_id: the key's thumbprint (RFC 7638).
    """

    election_id: str
    key: ec.EllipticCurvePublicKey = field(compare=False, repr=False)
    audience: str
    key_id: str = field(init=False)

    def __post_init__(self) -> None:
        # Once for all requests: it takes longer than to verify a signature.
        object.__setattr__(self, "key_id", thumbprint(self.key))


@dataclass(frozen=True, slots=True)
class UnverifiedRegistration:
    """A registration as it came; what it claims is read once its signature is good.

    Attributes:
        jws: the request, kept as evidence.
        is_batch: whether it is a request of many ballots, in whatever number it has them.
    """

    jws: UnverifiedJws
    is_batch: bool

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the registration of one ballot; raises RequestMalformed."""
        return cls(parse_jws(body, typ=REGISTRATION_TYPE), is_batch=False)

    @classmethod
    def parse_batch(cls, body: bytes) -> Self:
        """Read a request that registers up to 1,000 ballots; raises RequestMalformed."""
        jws = parse_jws(body, typ=BATCH_TYPE, max_bytes=MAX_BATCH_JWS_BYTES)
        return cls(jws, is_batch=True)


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration that the election system signed; made by `verify_registration` alone.

    Attributes:
        election_id: the election.
        submission_id: unique with the election.
        ballot_sha256: 32 bytes.
        evidence: the signed request.
        in_batch: whether that request is the evidence for many ballots.
    """

    election_id: str
    submission_id: str
    ballot_sha256: bytes
    evidence: bytes = field(repr=False)
    in_batch: bool
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
) -> tuple[Registration, ...]:
    """Check a registration: signature, addressee, time.

    A request is good for any length of time: registering is idempotent, and a lawful
    retry may come after the election.

    Returns:
        One for each ballot, in the request's order.

    Raises:
        RequestSignatureInvalid, RequestMalformed, RequestMisdirected, RequestTimeWrong: as
            they say; a time more exact than ten minutes is wrong, too.
    """
    jws, in_batch = unverified_registration.jws, unverified_registration.is_batch
    claims = verify_jws(jws, system.key, system.key_id)
    ballots = _batch_in(claims, jws) if in_batch else _ballot_in(claims)
    issued_at = _addressed(claims, system)
    # The request is kept beside the submissions' ids, so it must not tell the second.
    if issued_at % SLOT_SECONDS:
        raise RequestTimeWrong("iat is rounded down to ten minutes")
    _check_not_future(issued_at, at)
    return tuple(
        Registration(system.election_id, name, ballot, jws.compact, in_batch, _SEAL)
        for name, ballot in ballots
    )


def verify_receipt_request(
    unverified_token: bytes, wanted: str, system: ElectionSystem, *, at: datetime
) -> ReceiptRequest:
    """Check a bearer token that asks for the receipt of one submission.

    Args:
        unverified_token: compact JWS.
        wanted: the submission's id, as the address names it.
        system: whose token is believed.
        at: now.

    Raises:
        RequestMalformed, RequestSignatureInvalid, RequestMisdirected, RequestTimeWrong,
            RequestExpired: as they say.
    """
    token = parse_jws(unverified_token, typ=RECEIPT_REQUEST_TYPE)
    claims = verify_jws(token, system.key, system.key_id)
    require_members(claims, _ADDRESSED | {"submission_id", "exp"})
    expires_at = number_of(claims, "exp")
    issued_at = _addressed(claims, system)
    if submission_id(claims["submission_id"]) != wanted:
        raise RequestMisdirected("the token is for another submission")
    _check_not_future(issued_at, at)
    if not 0 < expires_at - issued_at <= RECEIPT_REQUEST_LIFE.total_seconds():
        raise RequestTimeWrong("the token is good for too long, or for no time")
    if at.timestamp() >= expires_at:
        raise RequestExpired("the token's time is over")
    return ReceiptRequest(system.election_id, wanted, _SEAL)


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
    order = parse_jws(unverified_order, typ=CLOSE_TYPE)
    claims = verify_jws(order, system.key, system.key_id)
    require_members(claims, _ADDRESSED | {"no_vote_root", "no_vote_size"})
    root = digest(claims["no_vote_root"], "no_vote_root")
    size = number_of(claims, "no_vote_size")
    _check_not_future(_addressed(claims, system), at)
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
    claims = {
        "aud": audience,
        "election_id": election_id,
        "submission_id": submission_id,
        "ballot_sha256": ballot_sha256.hex(),
        "iat": _slot_start(at),
    }
    return sign_jws(claims, typ=REGISTRATION_TYPE, private_key=private_key)


def sign_batch(
    *,
    private_key: ec.EllipticCurvePrivateKey,
    audience: str,
    election_id: str,
    ballots: Sequence[tuple[str, bytes]],
    at: datetime,
) -> str:
    """The election system's side: ask for many ballots to be registered, each (id, SHA-256).

    They may be given in any order: in the request they ascend by id, as prescribed.
    """
    claims = {
        "aud": audience,
        "election_id": election_id,
        "ballots": [[name, ballot_sha256.hex()] for name, ballot_sha256 in sorted(ballots)],
        "iat": _slot_start(at),
    }
    return sign_jws(claims, typ=BATCH_TYPE, private_key=private_key)


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


def _slot_start(at: datetime) -> int:
    second = int(at.timestamp())
    return second - second % SLOT_SECONDS


def _ballot_in(claims: Claims) -> tuple[tuple[str, bytes], ...]:
    require_members(claims, _ADDRESSED | {"submission_id", "ballot_sha256"})
    ballot_sha256 = digest(claims["ballot_sha256"], "ballot_sha256")
    return ((submission_id(claims["submission_id"]), ballot_sha256),)


def _batch_in(claims: Claims, jws: UnverifiedJws) -> tuple[tuple[str, bytes], ...]:
    require_members(claims, _ADDRESSED | {"ballots"})
    ballots = ballots_of(claims)
    # It is kept for ever: blanks between few ballots must not make it long.
    if len(jws.compact) > BATCH_HEAD_BYTES + BALLOT_BYTES * len(ballots):
        raise RequestMalformed("the request is longer than its ballots account for")
    return ballots


def _addressed(claims: Claims, system: ElectionSystem) -> int:
    """When a request was made, unix seconds, if it is for this service and election."""
    issued_at = number_of(claims, "iat")
    if text_of(claims, "aud") != system.audience:
        raise RequestMisdirected("the request is for another service")
    if text_of(claims, "election_id") != system.election_id:
        raise RequestMisdirected("the request is for another election")
    return issued_at


def _check_not_future(issued_at: int, at: datetime) -> None:
    if issued_at > (at + CLOCK_SKEW).timestamp():
        raise RequestTimeWrong("the request comes from the future")
