"""What a realm's database says was allowed and done, as the audit log is compared with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from signer.audit.entry import BegunAnew, PermitReserved, RangeEnded, RangeReserved


@dataclass(frozen=True, slots=True)
class StoredPermit:
    """A permit as the database has it; times are unix times."""

    permit_id: str
    purpose: str
    owner: str
    digest: bytes
    issued_at: int
    expires_at: int
    spent_at: int | None

    def entry(self) -> PermitReserved:
        """The entry that it must have; raises ValueError or AuditEntryMalformed."""
        return PermitReserved(
            bytes.fromhex(self.permit_id),
            self.purpose,
            self.owner,
            self.digest,
            self.issued_at,
            self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class StoredRange:
    """A range as the database has it; `used` and `root` once it has ended."""

    range_id: str
    purpose: str
    owner: str
    count: int
    issued_at: int
    expires_at: int
    used: int | None
    root: bytes | None

    def entry(self) -> RangeReserved:
        """The entry that it must have; raises ValueError or AuditEntryMalformed."""
        return RangeReserved(
            bytes.fromhex(self.range_id),
            self.purpose,
            self.owner,
            self.count,
            self.issued_at,
            self.expires_at,
        )

    def end(self) -> RangeEnded | None:
        """The entry of its end, None while it has not ended; raises as `entry`."""
        if self.used is None:
            return None
        return RangeEnded(bytes.fromhex(self.range_id), self.used, self.root or b"")


@dataclass(frozen=True, slots=True)
class MadeSignatures:
    """Signatures that the database keeps: those of a committed checkpoint.

    Attributes:
        owner: the log.
        digest: SHA-256 of the signed text, 32 bytes.
        count: how many signatures.
    """

    owner: str
    digest: bytes
    count: int


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """An issued certificate's state as the database has it; names as in CertificateChanged."""

    ca: str
    serial: str
    state: str
    since: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class StoredElection:
    """An election as the database has it; hashes of 32 bytes.

    Attributes:
        election_id: names it.
        manifest_sha256: of its manifest.
        request_sha256: of the order to close, None before there is one.
    """

    election_id: str
    manifest_sha256: bytes
    request_sha256: bytes | None


@dataclass(frozen=True, slots=True)
class StoredGeneration:
    """A generation of the audit log after the first, as the database has it.

    Attributes:
        number: at least 2.
        first_seq: place of its first entry, counted through all generations.
        previous, known_size, known_root, database_size, at, reason: as of `BegunAnew`.
    """

    number: int
    first_seq: int
    previous: str
    known_size: int
    known_root: bytes
    database_size: int
    at: int
    reason: str

    def entry(self) -> BegunAnew:
        """The entry that it must begin with; raises AuditEntryMalformed."""
        return BegunAnew(
            self.number,
            self.previous,
            self.known_size,
            self.known_root,
            self.database_size,
            self.at,
            self.reason,
        )


class RealmRecords(Protocol):
    """All that is compared of one realm; each call reads what is there when it is made."""

    def signatures(self) -> Iterable[MadeSignatures]:
        """Signatures that are kept."""

    def permits(self) -> Iterable[StoredPermit]:
        """All permits."""

    def ranges(self) -> Iterable[StoredRange]:
        """All ranges."""

    def certificates(self) -> Iterable[StoredCertificate]:
        """All certificates; of realm pki."""

    def elections(self) -> Iterable[StoredElection]:
        """All elections; of realm ballots."""

    def generations(self) -> Iterable[StoredGeneration]:
        """The generations of the audit log after the first."""

    def audit_entries(self) -> Iterable[tuple[int | None, bytes]]:
        """All entries with their places, in the order of writing; None for one that waits."""

    def permit(self, permit_id: str) -> StoredPermit | None:
        """A permit."""

    def range(self, range_id: str) -> StoredRange | None:
        """A range."""
