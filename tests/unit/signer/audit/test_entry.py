"""Audit entries: one encoding each, and nothing else is taken for one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.audit.entry import (
    FORMAT,
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
from signer.payload import Purpose
from signer.permit import PermitRecord
from signer.permit_range import RangeEnd, RangeRecord
from signer.receipts.cbor import encode_array

NOW = datetime(2026, 11, 21, 12, 0, 0, 999_999, tzinfo=UTC)
UNIX = 1_795_262_400
ID = bytes(range(16))
HASH = b"h" * 32

PERMIT = PermitReserved(ID, "receipt-log", "e1", HASH, UNIX, UNIX + 60)
RANGE = RangeReserved(ID, "ocsp-citizen-ca", "citizen-ca", 4096, UNIX, UNIX + 600)
ENDED = RangeEnded(ID, 7, HASH)
CERTIFICATE = CertificateChanged("revoked", "citizen-ca", "1f", UNIX, "keyCompromise")
CREATED = ElectionCreated("e1", HASH)
CLOSING = ElectionClosing("e1", HASH)
BEGUN = BegunAnew(2, "audit.login.example/pki", 7, HASH, 3, UNIX, "the disk was lost")
ENTRIES: list[AuditEntry] = [PERMIT, RANGE, ENDED, CERTIFICATE, CREATED, CLOSING, BEGUN]

numbers = st.integers(0, 2**63 - 1)
ids, hashes = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
labels = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}", fullmatch=True)
owners = st.text(st.characters(codec="utf-8"), min_size=1, max_size=255)
elections = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?", fullmatch=True)
reasons = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=250)
serials = st.integers(0, 2**160 - 1).map(lambda number: f"{number:x}")
entries = st.one_of(
    st.builds(PermitReserved, ids, labels, owners, hashes, numbers, numbers),
    st.builds(RangeReserved, ids, labels, owners, st.integers(1, 2**63 - 1), numbers, numbers),
    st.builds(RangeEnded, ids, numbers, hashes),
    st.builds(CertificateChanged, st.just("revoked"), labels, serials, numbers, labels),
    st.builds(
        CertificateChanged,
        st.sampled_from(["good", "suspended"]),
        labels,
        serials,
        numbers,
        st.just(""),
    ),
    st.builds(ElectionCreated, elections, hashes),
    st.builds(ElectionClosing, elections, hashes),
    st.builds(
        BegunAnew,
        st.integers(2, 2**63 - 1),
        owners,
        st.integers(1, 2**63 - 1),
        hashes,
        numbers,
        numbers,
        reasons,
    ),
)


@given(entries)
def test_every_entry_comes_back_and_has_one_encoding(entry: AuditEntry) -> None:
    data = encode_entry(entry)
    assert decode_entry(data) == entry
    assert data == cbor2.dumps([FORMAT, entry.kind, *entry.items()], canonical=True)


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(AuditEntryMalformed):
        decode_entry(data)


@given(entries, st.data())
def test_a_changed_byte_is_refused_or_another_entry(entry: AuditEntry, data: st.DataObject) -> None:
    encoded = bytearray(encode_entry(entry))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_entry(bytes(encoded))
    except AuditEntryMalformed:
        return
    assert other != entry
    assert encode_entry(other) == bytes(encoded)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.kind)
def test_another_format_kind_type_or_number_of_items_is_refused(entry: AuditEntry) -> None:
    items = entry.items()
    for wrong in (
        ["mn.tamga-audit/2", entry.kind, *items],
        [FORMAT, "something-else", *items],
        [FORMAT, entry.kind, *items[:-1]],
        [FORMAT, entry.kind, *items, 0],
        [FORMAT, entry.kind, *items[:-1], 7 if isinstance(items[-1], bytes | str) else "7"],
        [FORMAT],
        [],
    ):
        with pytest.raises(AuditEntryMalformed):
            decode_entry(encode_array(wrong))


def test_values_out_of_range_are_refused() -> None:
    wrong: list[Callable[[], AuditEntry]] = [
        lambda: PermitReserved(ID[:15], "p", "o", HASH, 0, 0),
        lambda: PermitReserved(ID, "", "o", HASH, 0, 0),
        lambda: PermitReserved(ID, "p", "", HASH, 0, 0),
        lambda: PermitReserved(ID, "p", "o" * 1025, HASH, 0, 0),
        lambda: PermitReserved(ID, "p", "o", HASH[:31], 0, 0),
        lambda: PermitReserved(ID, "p", "o", HASH, 2**63, 0),
        lambda: RangeReserved(ID, "p", "o", 0, 0, 0),
        lambda: RangeEnded(ID, -1, HASH),
        lambda: CertificateChanged("lost", "ca", "1", 0, ""),
        lambda: CertificateChanged("revoked", "ca", "1", 0, ""),
        lambda: CertificateChanged("good", "ca", "1", 0, "superseded"),
        lambda: CertificateChanged("good", "ca", "01", 0, ""),
        lambda: CertificateChanged("good", "ca", "F", 0, ""),
        lambda: ElectionCreated("E1", HASH),
        lambda: ElectionClosing("e1", b""),
        lambda: BegunAnew(1, "audit.x/pki", 0, b"", 0, 0, "why"),
        lambda: BegunAnew(2, "", 0, b"", 0, 0, "why"),
        lambda: BegunAnew(2, "audit.x/pki", 0, HASH, 0, 0, "why"),
        lambda: BegunAnew(2, "audit.x/pki", 1, b"", 0, 0, "why"),
        lambda: BegunAnew(2, "audit.x/pki", 0, b"", -1, 0, "why"),
        lambda: BegunAnew(2, "audit.x/pki", 0, b"", 0, 0, ""),
        lambda: BegunAnew(2, "audit.x/pki", 0, b"", 0, 0, "ш" * 501),
        lambda: BegunAnew(2, "audit.x/pki", 0, b"", 0, 0, "two\nlines"),
        lambda: BegunAnew(2, "audit.x/pki", 0, b"", 0, 0, "\udc80"),
    ]
    for make in wrong:
        with pytest.raises(AuditEntryMalformed):
            make()


def test_records_become_entries_with_whole_seconds() -> None:
    record = PermitRecord(
        ID.hex(), Purpose.RECEIPT_LOG, "e1", HASH, NOW, NOW + timedelta(minutes=1)
    )
    assert PermitReserved.of(record) == PERMIT
    reserved = RangeRecord(
        ID.hex(), Purpose.OCSP_CITIZEN_CA, "citizen-ca", 4096, NOW, NOW + timedelta(minutes=10)
    )
    assert RangeReserved.of(reserved) == RANGE
    assert RangeEnded.of(RangeEnd(ID.hex(), 7, HASH)) == ENDED
