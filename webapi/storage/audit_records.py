"""Everything of one realm that `tamga audit verify` compares, read step by step.

No table is held while another is read: the service goes on meanwhile.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Engine, Row, Table, select, tuple_

from signer.audit.records import (
    MadeSignatures,
    StoredCertificate,
    StoredElection,
    StoredGeneration,
    StoredPermit,
    StoredRange,
)
from signer.receipts.errors import FormatRefused
from signer.receipts.note import UnverifiedNote
from webapi.storage.audit import audit_checkpoints, audit_entries
from webapi.storage.audit_generations import SqlAuditGenerations
from webapi.storage.ballot_log import log_checkpoints
from webapi.storage.certificates import issued_certificates
from webapi.storage.elections import elections
from webapi.storage.permits import permit_ranges, permits
from webapi.storage.realm import Realm

READ_STEP = 10_000
"""Rows in memory at once."""


class SqlRealmRecords:
    """`signer.audit.records.RealmRecords` of a database."""

    def __init__(self, engine: Engine, realm: Realm) -> None:
        self._engine = engine
        self._realm = realm

    def signatures(self) -> Iterator[MadeSignatures]:
        """Those of every committed checkpoint."""
        keeping = [(audit_checkpoints, audit_checkpoints.c.log_id)]
        if self._realm is Realm.BALLOTS:
            keeping.append((log_checkpoints, log_checkpoints.c.election_id))
        for table, name in keeping:
            for row in self._all(table, name, table.c.size):
                try:
                    note = UnverifiedNote.parse(row.note)
                except FormatRefused:
                    continue  # the comparison of the log's records names it
                digest = hashlib.sha256(note.text).digest()
                yield MadeSignatures(getattr(row, name.name), digest, len(note.signatures))

    def permits(self) -> Iterator[StoredPermit]:
        """All permits."""
        return (StoredPermit(*row) for row in self._all(permits, permits.c.permit_id))

    def ranges(self) -> Iterator[StoredRange]:
        """All ranges."""
        return (StoredRange(*row) for row in self._all(permit_ranges, permit_ranges.c.range_id))

    def certificates(self) -> Iterator[StoredCertificate]:
        """All certificates; none outside realm pki."""
        if self._realm is Realm.PKI:
            columns = issued_certificates.c
            for row in self._all(issued_certificates, columns.ca, columns.serial):
                yield StoredCertificate(row.ca, row.serial, row.state, row.since, row.reason)

    def elections(self) -> Iterator[StoredElection]:
        """All elections; none outside realm ballots."""
        if self._realm is Realm.BALLOTS:
            for row in self._all(elections, elections.c.election_id):
                request = row.close_request
                yield StoredElection(
                    row.election_id,
                    hashlib.sha256(row.manifest).digest(),
                    None if request is None else hashlib.sha256(request).digest(),
                )

    def generations(self) -> Iterator[StoredGeneration]:
        """The generations of the audit log after the first."""
        return iter(SqlAuditGenerations(self._engine, self._realm).stored())

    def audit_entries(self) -> Iterator[tuple[int | None, bytes]]:
        """All entries with their places, in the order of writing."""
        for row in self._all(audit_entries, audit_entries.c.entry_id):
            yield row.seq, row.entry

    def permit(self, permit_id: str) -> StoredPermit | None:
        """A permit."""
        row = self._one(permits, permits.c.permit_id, permit_id)
        return None if row is None else StoredPermit(*row)

    def range(self, range_id: str) -> StoredRange | None:
        """A range."""
        row = self._one(permit_ranges, permit_ranges.c.range_id, range_id)
        return None if row is None else StoredRange(*row)

    def _one(self, table: Table, key: Column[str], value: str) -> Row[*tuple[Any, ...]] | None:
        with self._engine.begin() as connection:
            return connection.execute(select(table).where(key == value)).one_or_none()

    def _all(self, table: Table, *key: Column[Any]) -> Iterator[Row[*tuple[Any, ...]]]:
        """Every row in the order of its key, a transaction for each step."""
        beyond: tuple[Any, ...] | None = None
        names = [column.name for column in key]
        while True:
            query = select(table).order_by(*key).limit(READ_STEP)
            if beyond is not None:
                query = query.where(tuple_(*key) > beyond)
            with self._engine.begin() as connection:
                rows = connection.execute(query).all()
            yield from rows
            if len(rows) < READ_STEP:
                return
            beyond = tuple(getattr(rows[-1], name) for name in names)
