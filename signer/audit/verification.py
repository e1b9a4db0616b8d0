"""Whether what a realm's database says was signed is what its audit log says.

Rows are read before entries, and both are written in one transaction: so an entry without its
row is looked up once more before it is called wrong, and the service may run meanwhile.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from signer.audit.entry import (
    AuditEntry,
    BegunAnew,
    CertificateChanged,
    ElectionClosing,
    ElectionCreated,
    PermitReserved,
    RangeEnded,
    RangeReserved,
    decode_entry,
    encode_entry,
)
from signer.audit.errors import AuditEntryMalformed
from signer.audit.records import (
    RealmRecords,
    StoredCertificate,
    StoredElection,
    StoredGeneration,
    StoredPermit,
    StoredRange,
)
from signer.receipts.leaf import SLOT_SECONDS
from signer.receipts.merkle import leaf_hash


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not agree.

    Attributes:
        code: what kind of thing, in a word.
        what: which one.
    """

    code: str
    what: str


@dataclass(slots=True)
class Reconciliation:
    """What a comparison found.

    Attributes:
        findings: what does not agree; empty where all does.
        permits: how many are reserved.
        spent: how many of them are spent.
        ranges: how many ranges are reserved.
        range_signatures: numbers given out of ranges that have ended.
        open_ranges: id and size of each that has not ended, which counts as used to its end.
        unsealed: entries without a place, those of seals not counted.
    """

    findings: list[Finding] = field(default_factory=list)
    permits: int = 0
    spent: int = 0
    ranges: int = 0
    range_signatures: int = 0
    open_ranges: dict[str, int] = field(default_factory=dict)
    unsealed: int = 0

    def report(self, code: str, what: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(code, what))


def reconcile(records: RealmRecords, *, coarse: bool) -> Reconciliation:
    """Compare permits, ranges, certificates and elections with the audit entries, both ways.

    1. Each kept signature has a spent permit of its own.
    2. Each permit, each range and each end of a range has exactly one entry that says the same.
    3. Each entry has its row.
    4. No permit was spent after its end, no range gave out more than it has.
    5. Each certificate is in the state that its last entry says.
    6. Each election has its entries, and each generation of the log.

    Args:
        records: of the realm.
        coarse: whether times may tell no more than the ten-minute slot.
    """
    return _Comparison(records, coarse=coarse).run()


class _Comparison:
    def __init__(self, records: RealmRecords, *, coarse: bool) -> None:
        self._records = records
        self._coarse = coarse
        self._found = Reconciliation()
        # What must have an entry: (kind, id) to the hash of the entry.
        self._expected: dict[tuple[str, str], bytes] = {}
        self._malformed: set[tuple[str, str]] = set()
        self._seen: set[tuple[str, str]] = set()
        self._unsigned: Counter[tuple[str, bytes]] = Counter()
        self._states: dict[tuple[str, str], CertificateChanged] = {}

    def run(self) -> Reconciliation:
        # (1)
        for made in self._records.signatures():
            self._unsigned[made.owner, made.digest] += made.count
        certificates = list(self._records.certificates())
        # (2), (4), (6): what is there
        for permit in self._records.permits():
            self._read_permit(permit)
        for reserved in self._records.ranges():
            self._read_range(reserved)
        for election in self._records.elections():
            self._read_election(election)
        for generation in self._records.generations():
            self._read_generation(generation)
        for (owner, digest), missing in self._unsigned.items():
            if missing > 0:
                what = f"{missing} signature(s) of {owner} over {digest.hex()}"
                self._found.report("signature-without-permit", what)
        # (3)
        for place, data in self._records.audit_entries():
            self._read_entry(place, data)
        for kind, name in self._expected.keys() - self._seen:
            self._found.report("row-without-entry", f"{kind} {name}")
        # (5)
        self._compare_certificates(certificates)
        return self._found

    def _read_permit(self, permit: StoredPermit) -> None:
        self._found.permits += 1
        name = permit.permit_id
        self._expect(PermitReserved.kind, name, permit.entry)
        self._check_slot(f"permit {name}", permit.issued_at, permit.spent_at)
        if permit.spent_at is None:
            return
        self._found.spent += 1
        self._unsigned[permit.owner, permit.digest] -= 1
        if permit.spent_at >= permit.expires_at:
            self._found.report("spent-too-late", f"permit {name}")

    def _read_range(self, reserved: StoredRange) -> None:
        self._found.ranges += 1
        name = reserved.range_id
        self._expect(RangeReserved.kind, name, reserved.entry)
        self._check_slot(f"range {name}", reserved.issued_at)
        if reserved.used is None:
            self._found.open_ranges[name] = reserved.count
            return
        self._found.range_signatures += reserved.used
        self._expect(RangeEnded.kind, name, reserved.end)
        if reserved.used > reserved.count:
            self._found.report("range-overused", f"range {name}")

    def _read_election(self, election: StoredElection) -> None:
        name = election.election_id
        created = ElectionCreated(name, election.manifest_sha256)
        self._expect(ElectionCreated.kind, name, lambda: created)
        if election.request_sha256 is not None:
            closing = ElectionClosing(name, election.request_sha256)
            self._expect(ElectionClosing.kind, name, lambda: closing)

    def _read_generation(self, generation: StoredGeneration) -> None:
        name = str(generation.number)
        self._expect(BegunAnew.kind, name, generation.entry)
        self._check_slot(f"generation {name}", generation.at)

    def _expect(self, kind: str, name: str, entry: "EntryOf") -> None:
        try:
            made = entry()
        except (AuditEntryMalformed, ValueError):
            self._malformed.add((kind, name))
            self._found.report("row-malformed", f"{kind} {name}")
            return
        if made is not None:
            self._expected[kind, name] = leaf_hash(encode_entry(made))

    def _check_slot(self, what: str, *times: int | None) -> None:
        if self._coarse and any(at is not None and at % SLOT_SECONDS for at in times):
            self._found.report("time-too-exact", what)

    def _read_entry(self, place: int | None, data: bytes) -> None:
        try:
            entry = decode_entry(data)
        except AuditEntryMalformed:
            self._found.report("entry-malformed", f"entry {place}")
            return
        if place is None and getattr(entry, "purpose", None) != "audit":
            self._found.unsealed += 1
        if isinstance(entry, CertificateChanged):
            self._states[entry.ca, entry.serial] = entry
            return
        key = (entry.kind, _name_of(entry))
        if key in self._seen:
            self._found.report("entry-repeated", f"{key[0]} {key[1]}")
        self._seen.add(key)
        expected = self._expected.get(key)
        if expected is None and key not in self._malformed:
            expected = self._look_again(entry)
        if expected is None:
            self._found.report("entry-without-row", f"{key[0]} {key[1]}")
        elif expected != leaf_hash(data):
            self._found.report("row-differs-from-entry", f"{key[0]} {key[1]}")

    def _look_again(self, entry: AuditEntry) -> bytes | None:
        """The hash of what a row's entry must be that was written while rows were read."""
        if isinstance(entry, PermitReserved):
            permit = self._records.permit(entry.permit_id.hex())
            if permit is not None:
                self._expect(entry.kind, permit.permit_id, permit.entry)
        elif isinstance(entry, RangeReserved | RangeEnded):
            reserved = self._records.range(entry.range_id.hex())
            if reserved is not None:
                make = reserved.entry if isinstance(entry, RangeReserved) else reserved.end
                self._expect(entry.kind, reserved.range_id, make)
        elif isinstance(entry, ElectionCreated | ElectionClosing):
            for election in self._records.elections():
                if election.election_id == entry.election_id:
                    self._read_election(election)
        elif isinstance(entry, BegunAnew):
            for generation in self._records.generations():
                if generation.number == entry.generation:
                    self._read_generation(generation)
        return self._expected.get((entry.kind, _name_of(entry)))

    def _compare_certificates(self, certificates: Iterable[StoredCertificate]) -> None:
        for stored in certificates:
            said = self._states.pop((stored.ca, stored.serial), None)
            row = (stored.state, stored.since, stored.reason)
            if said is None:
                told: tuple[str, int | None, str | None] = ("good", None, None)
            else:
                since = None if said.state == "good" else said.at
                told = (said.state, since, said.reason or None)
            if row != told:
                what = f"{stored.ca} {stored.serial} is {stored.state}, entry says {told[0]}"
                self._found.report("certificate-differs-from-entry", what)
        for ca, serial in self._states:
            self._found.report("entry-without-row", f"certificate {ca} {serial}")


class EntryOf(Protocol):
    """Makes the entry that a row must have, or refuses."""

    def __call__(self) -> AuditEntry | None:
        """The entry; raises ValueError or AuditEntryMalformed."""


def _name_of(entry: AuditEntry) -> str:
    if isinstance(entry, PermitReserved):
        return entry.permit_id.hex()
    if isinstance(entry, RangeReserved | RangeEnded):
        return entry.range_id.hex()
    if isinstance(entry, ElectionCreated | ElectionClosing):
        return entry.election_id
    if isinstance(entry, BegunAnew):
        return str(entry.generation)
    msg = "a certificate's change has no row of its own"
    raise TypeError(msg)
