"""Our OCSP responder joined to the table of issued certificates: part of the wiring."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import assert_never

from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.responder.answering import Answer, Declined, ResponderCa, answer, decline
from ocsp.responder.statuses import (
    IssuedGood,
    IssuedRevoked,
    IssuedStatus,
    IssuedSuspended,
    NotIssued,
    RevocationReason,
)
from webapi.storage.certificates import CertificateRecord, CertificateState, SqlCertificateStore


class OcspService:
    """`webapi.pki.routes.PkiService` for CAs whose delegates' keys this process holds."""

    def __init__(
        self,
        cas: Iterable[ResponderCa],
        store: SqlCertificateStore,
        clock: Callable[[], datetime],
        *,
        busy: tuple[type[Exception], ...],
        require_agreement: Callable[[], None],
    ) -> None:
        """Join the parts.

        Args:
            cas: whom we answer for.
            store: what they issued.
            clock: gives aware UTC.
            busy: errors that pass, or that a person ends; the answer to them is tryLater.
            require_agreement: raises one of them where the store is not today's.
        """
        self._cas = {ca.name: ca for ca in cas}
        self._statuses = StoredStatuses(store, require_agreement)
        self._clock = clock
        self._busy = busy

    def answer(self, unverified_request: bytes, ca: str | None) -> Answer:
        """Answer as the named CA's responder, or as any of ours."""
        cas = tuple(self._cas.values()) if ca is None else (self._cas[ca],)
        try:
            return answer(unverified_request, cas, self._statuses, self._clock())
        except self._busy:
            return decline(Declined.TRY_LATER)

    def malformed(self) -> Answer:
        """The answer to what cannot even be decoded."""
        return decline(Declined.MALFORMED_REQUEST)

    def certificate(self, ca: str) -> bytes | None:
        """DER of the CA's certificate, None if it is none of ours."""
        found = self._cas.get(ca)
        return None if found is None else found.certificate.public_bytes(Encoding.DER)


class StoredStatuses:
    """`ocsp.responder.statuses.IssuedStatusSource` on the table."""

    def __init__(self, store: SqlCertificateStore, require_agreement: Callable[[], None]) -> None:
        self._store = store
        self._require_agreement = require_agreement

    def status(self, ca: str, serial: int) -> IssuedStatus:
        """The present state of a serial number.

        Raises:
            AnswersOnHold: nothing is said of any.
            StorageError: what `require_agreement` raises.
        """
        record = self._store.status_to_tell(ca, serial)
        # In this order: what was read is of the database that is compared.
        self._require_agreement()
        return NotIssued() if record is None else _status(record)


def _status(record: CertificateRecord) -> IssuedStatus:
    match record.state:
        case CertificateState.GOOD:
            return IssuedGood()
        case CertificateState.SUSPENDED:
            return IssuedSuspended(_since(record))
        case CertificateState.REVOKED:
            return IssuedRevoked(_since(record), RevocationReason(str(record.reason)))
        case _:
            assert_never(record.state)


def _since(record: CertificateRecord) -> datetime:
    if record.since is None:
        raise ValueError(f"{record.ca} {record.serial:x} is {record.state} since never")
    return record.since
