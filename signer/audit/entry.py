"""Audit entries, specified to the byte in `docs/audit-format.md`.

Each is a deterministic CBOR array (`signer.receipts.cbor`) whose first item names the format and
whose second item the kind of entry. In the ballots realm every time is the beginning of a
ten-minute slot, and nothing is said of any voter.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

from signer.audit.errors import AuditEntryMalformed
from signer.permit import PermitRecord
from signer.permit_range import RangeEnd, RangeRecord
from signer.receipts.cbor import Item, decode_array, encode_array
from signer.receipts.errors import CborNotDeterministic
from signer.receipts.leaf import is_election_id

FORMAT = "mn.tamga-audit/1"
ID_BYTES = 16
HASH_BYTES = 32
MAX_OWNER_BYTES = 1024
MAX_REASON_BYTES = 1000
_MAX_NUMBER = 2**63 - 1
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, no characters
_SERIAL = re.compile(r"0|[1-9a-f][0-9a-f]{0,39}")


def _seconds(at: datetime) -> int:
    """Seconds since 1970, rounded down."""
    return int(at.timestamp() // 1)


@dataclass(frozen=True, slots=True)
class PermitReserved:
    """A key may sign one digest once.

    Attributes:
        permit_id: 16 bytes.
        purpose: names the key.
        owner: for whom.
        digest: SHA-256 of the bytes to be signed, 32 bytes.
        issued_at: unix time.
        expires_at: unix time.
    """

    kind: ClassVar = "permit-reserved"
    permit_id: bytes
    purpose: str
    owner: str
    digest: bytes
    issued_at: int
    expires_at: int

    def __post_init__(self) -> None:
        _check_bytes(self.permit_id, ID_BYTES)
        _check_label(self.purpose)
        _check_owner(self.owner)
        _check_bytes(self.digest, HASH_BYTES)
        _check_numbers(self.issued_at, self.expires_at)

    @classmethod
    def of(cls, record: PermitRecord) -> Self:
        """The entry of a permit."""
        return cls(
            bytes.fromhex(record.permit_id),
            str(record.purpose),
            record.owner,
            record.digest,
            _seconds(record.issued_at),
            _seconds(record.expires_at),
        )

    def items(self) -> Sequence[Item]:
        """What follows format and kind."""
        return (
            self.permit_id,
            self.purpose,
            self.owner,
            self.digest,
            self.issued_at,
            self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class RangeReserved:
    """A key may sign so many digests, each once.

    Attributes:
        range_id: 16 bytes.
        purpose: names the key.
        owner: for whom.
        count: number of signatures, at least 1.
        issued_at: unix time.
        expires_at: unix time.
    """

    kind: ClassVar = "range-reserved"
    range_id: bytes
    purpose: str
    owner: str
    count: int
    issued_at: int
    expires_at: int

    def __post_init__(self) -> None:
        _check_bytes(self.range_id, ID_BYTES)
        _check_label(self.purpose)
        _check_owner(self.owner)
        _check_numbers(self.count - 1, self.issued_at, self.expires_at)

    @classmethod
    def of(cls, record: RangeRecord) -> Self:
        """The entry of a range."""
        return cls(
            bytes.fromhex(record.range_id),
            str(record.purpose),
            record.owner,
            record.count,
            _seconds(record.issued_at),
            _seconds(record.expires_at),
        )

    def items(self) -> Sequence[Item]:
        """What follows format and kind."""
        return (
            self.range_id,
            self.purpose,
            self.owner,
            self.count,
            self.issued_at,
            self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class RangeEnded:
    """So many numbers of a range were given out, for these digests.

    Attributes:
        range_id: 16 bytes.
        used: how many.
        root: root of the Merkle tree over the digests, in order; 32 bytes.
    """

    kind: ClassVar = "range-ended"
    range_id: bytes
    used: int
    root: bytes

    def __post_init__(self) -> None:
        _check_bytes(self.range_id, ID_BYTES)
        _check_numbers(self.used)
        _check_bytes(self.root, HASH_BYTES)

    @classmethod
    def of(cls, end: RangeEnd) -> Self:
        """The entry of a range's end."""
        return cls(bytes.fromhex(end.range_id), end.used, end.root)

    def items(self) -> Sequence[Item]:
        """What follows format and kind."""
        return (self.range_id, self.used, self.root)


@dataclass(frozen=True, slots=True)
class CertificateChanged:
    """A certificate that one of our CAs issued changed its state.

    Attributes:
        state: `suspended`, `good` (restored) or `revoked`.
        ca: name of the CA.
        serial: serial number, lower-case hexadecimal without leading zeroes.
        at: unix time.
        reason: why it was revoked; empty for other changes.
    """

    kind: ClassVar = "certificate-changed"
    state: str
    ca: str
    serial: str
    at: int
    reason: str

    def __post_init__(self) -> None:
        if self.state not in ("suspended", "good", "revoked"):
            raise AuditEntryMalformed("no such state of a certificate")
        _check_label(self.ca)
        if _SERIAL.fullmatch(self.serial) is None:
            raise AuditEntryMalformed("a serial number is hexadecimal")
        _check_numbers(self.at)
        if self.reason:
            _check_label(self.reason)
        if bool(self.reason) != (self.state == "revoked"):
            raise AuditEntryMalformed("a revocation has a reason, and nothing else has")

    def items(self) -> Sequence[Item]:
        """What follows format and kind."""
        return (self.state, self.ca, self.serial, self.at, self.reason)


@dataclass(frozen=True, slots=True)
class ElectionCreated:
    """An election and its log began.

    Attributes:
        election_id: names it.
        manifest_sha256: 32 bytes.
    """

    kind: ClassVar = "election-created"
    election_id: str
    manifest_sha256: bytes

    def __post_init__(self) -> None:
        _check_election(self.election_id)
        _check_bytes(self.manifest_sha256, HASH_BYTES)

    def items(self) -> Sequence[Item]:
        """What follows format and kind."""
        return (self.election_id, self.manifest_sha256)


@dataclass(frozen=True, slots=True)
class ElectionClosing:
    """The election system ordered an election to close.

    Attributes:
        election_id: names it.
        request_sha256: SHA-256 of the signed order, 32 bytes.
    """

    kind: ClassVar = "election-closing"
    election_id: str
    request_sha256: bytes

    def __post_init__(self) -> None:
        _check_election(self.election_id)
        _check_bytes(self.request_sha256, HASH_BYTES)

    def items(self) -> Sequence[Item]:
        """What follows format and kind."""
        return (self.election_id, self.request_sha256)


@dataclass(frozen=True, slots=True)
class BegunAnew:
    """A generation of the audit log begins, because the one before cannot go on.

    Attributes:
        generation: number of the one that begins, at least 2.
        previous: origin of the one that is given up.
        known_size: of the newest checkpoint that its folder holds, 0 where it holds none.
        known_root: its root, 32 bytes; empty where there is none.
        database_size: how far it is sealed in the database.
        at: unix time.
        reason: a person's; 1 to MAX_REASON_BYTES bytes of UTF-8, no control characters.
    """

    kind: ClassVar = "begun-anew"
    generation: int
    previous: str
    known_size: int
    known_root: bytes
    database_size: int
    at: int
    reason: str

    def __post_init__(self) -> None:
        _check_numbers(self.generation - 2, self.known_size, self.database_size, self.at)
        _check_owner(self.previous)
        _check_bytes(self.known_root, HASH_BYTES if self.known_size else 0)
        if _UNFIT.search(self.reason) or not 1 <= len(self.reason.encode()) <= MAX_REASON_BYTES:
            raise AuditEntryMalformed(
                f"a reason is one line of 1 to {MAX_REASON_BYTES} bytes, without control characters"
            )

    def items(self) -> Sequence[Item]:
        """What follows format and kind."""
        return (
            self.generation,
            self.previous,
            self.known_size,
            self.known_root,
            self.database_size,
            self.at,
            self.reason,
        )


AuditEntry = (
    PermitReserved
    | RangeReserved
    | RangeEnded
    | CertificateChanged
    | ElectionCreated
    | ElectionClosing
    | BegunAnew
)

# The type of each item behind the kind, and what is made of them.
_KINDS: Mapping[str, tuple[tuple[type, ...], Callable[..., AuditEntry]]] = {
    PermitReserved.kind: ((bytes, str, str, bytes, int, int), PermitReserved),
    RangeReserved.kind: ((bytes, str, str, int, int, int), RangeReserved),
    RangeEnded.kind: ((bytes, int, bytes), RangeEnded),
    CertificateChanged.kind: ((str, str, str, int, str), CertificateChanged),
    ElectionCreated.kind: ((str, bytes), ElectionCreated),
    ElectionClosing.kind: ((str, bytes), ElectionClosing),
    BegunAnew.kind: ((int, str, int, bytes, int, int, str), BegunAnew),
}


def encode_entry(entry: AuditEntry) -> bytes:
    """The entry's bytes."""
    return encode_array([FORMAT, entry.kind, *entry.items()])


def decode_entry(data: bytes) -> AuditEntry:
    """The entry that these bytes are.

    Raises:
        AuditEntryMalformed: they are not exactly one of the kinds.
    """
    try:
        form, *rest = decode_array(data)
    except (CborNotDeterministic, ValueError) as error:
        raise AuditEntryMalformed("the entry is not a deterministic CBOR array") from error
    if form != FORMAT or not rest:
        raise AuditEntryMalformed("the array is not an audit entry of this format")
    kind, *items = rest
    types, make = _KINDS.get(str(kind), ((), None))
    if make is None or tuple(type(item) for item in items) != types:
        raise AuditEntryMalformed("the entry's items are not those of a known kind")
    return make(*items)


def _check_bytes(value: bytes, length: int) -> None:
    if len(value) != length:
        raise AuditEntryMalformed(f"a value does not have {length} bytes")


def _check_numbers(*values: int) -> None:
    if not all(0 <= value <= _MAX_NUMBER for value in values):
        raise AuditEntryMalformed("a number is out of its range")


def _check_label(value: str) -> None:
    if _LABEL.fullmatch(value) is None:
        raise AuditEntryMalformed("a name is 1 to 64 letters, digits and hyphens")


def _check_owner(value: str) -> None:
    if not 1 <= len(value.encode()) <= MAX_OWNER_BYTES:
        raise AuditEntryMalformed("an owner is a text of 1 to 1024 bytes")


def _check_election(value: str) -> None:
    if not is_election_id(value):
        raise AuditEntryMalformed("the election id is malformed")
