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
    MAX_JWS_BYTES,
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

MAX_BATCH_JWS_BYTES = 262_144
"""As many ballots as a batch may have, with the longest ids, and room to spare."""

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
    """A registration as it came, well-formed.

    Attributes:
        jws: the request, kept as evidence.
        audience, election_id: whom and what it says it is for.
        ballots: submission ids (16 to 64 characters of A-Z, a-z, 0-9, hyphen and underscore)
            with SHA-256 of each ballot, 32 bytes; no id twice.
        issued_at: unix seconds, a multiple of 600.
        is_batch: whether it is a request of many ballots, in whatever number it has them.
    """

    jws: UnverifiedJws
    audience: str
    election_id: str
    ballots: tuple[tuple[str, bytes], ...]
    issued_at: int
    is_batch: bool

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Read the registration of one ballot.

        Raises:
            RequestMalformed: the bytes are not one.
            RequestTimeWrong: its time is more exact than ten minutes.
        """
        jws = parse_jws(body, typ=REGISTRATION_TYPE, max_bytes=MAX_JWS_BYTES)
        require_members(jws.claims, _ADDRESSED | {"submission_id", "ballot_sha256"})
        ballot = (
            submission_id(jws.claims["submission_id"]),
            digest(jws.claims["ballot_sha256"], "ballot_sha256"),
        )
        return cls._addressed(jws, (ballot,), is_batch=False)

    @classmethod
    def parse_batch(cls, body: bytes) -> Self:
        """Read a request that registers up to 1,000 ballots.

        Raises:
            RequestMalformed: the bytes are not one, or it names an id twice.
            RequestTimeWrong: its time is more exact than ten minutes.
        """
        jws = parse_jws(body, typ=BATCH_TYPE, max_bytes=MAX_BATCH_JWS_BYTES)
        require_members(jws.claims, _ADDRESSED | {"ballots"})
        return cls._addressed(jws, ballots_of(jws.claims), is_batch=True)

    @classmethod
    def _addressed(
        cls, jws: UnverifiedJws, ballots: tuple[tuple[str, bytes], ...], *, is_batch: bool
    ) -> Self:
        issued_at = number_of(jws.claims, "iat")
        # The request is kept beside the submissions' ids, so it must not tell the second.
        if issued_at % SLOT_SECONDS:
            raise RequestTimeWrong("iat is rounded down to ten minutes")
        return cls(
            jws=jws,
            audience=text_of(jws.claims, "aud"),
            election_id=text_of(jws.claims, "election_id"),
            ballots=ballots,
            issued_at=issued_at,
            is_batch=is_batch,
        )


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
        RequestSignatureInvalid, RequestMisdirected, RequestTimeWrong: as they say.
    """
    unverified = unverified_registration
    verify_jws(unverified.jws, system.key, system.key_id)
    _check_addressee(unverified.audience, unverified.election_id, system)
    _check_not_future(unverified.issued_at, at)
    evidence, in_batch = unverified.jws.compact, unverified.is_batch
    return tuple(
        Registration(system.election_id, name, ballot, evidence, in_batch, _SEAL)
        for name, ballot in unverified.ballots
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
    claims = token.claims
    require_members(claims, _ADDRESSED | {"submission_id", "exp"})
    issued_at, expires_at = number_of(claims, "iat"), number_of(claims, "exp")
    verify_jws(token, system.key, system.key_id)
    _check_addressee(text_of(claims, "aud"), text_of(claims, "election_id"), system)
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
    claims = order.claims
    require_members(claims, _ADDRESSED | {"no_vote_root", "no_vote_size"})
    root = digest(claims["no_vote_root"], "no_vote_root")
    size = number_of(claims, "no_vote_size")
    verify_jws(order, system.key, system.key_id)
    _check_addressee(text_of(claims, "aud"), text_of(claims, "election_id"), system)
    _check_not_future(number_of(claims, "iat"), at)
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
    """The election system's side: ask for many ballots to be registered, each (id, SHA-256)."""
    claims = {
        "aud": audience,
        "election_id": election_id,
        "ballots": [[name, ballot_sha256.hex()] for name, ballot_sha256 in ballots],
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


def _check_addressee(audience: str, election_id: str, system: ElectionSystem) -> None:
    if audience != system.audience:
        raise RequestMisdirected("the request is for another service")
    if election_id != system.election_id:
        raise RequestMisdirected("the request is for another election")


def _check_not_future(issued_at: int, at: datetime) -> None:
    if issued_at > (at + CLOCK_SKEW).timestamp():
        raise RequestTimeWrong("the request comes from the future")
