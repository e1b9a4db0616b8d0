"""Our OCSP responder joined to the table of issued certificates: part of the wiring."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Protocol, assert_never

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.responder.answering import (
    Answer,
    Declined,
    Question,
    ResponderCa,
    answer_live,
    decline,
    understand,
)
from ocsp.responder.statuses import (
    IssuedGood,
    IssuedRevoked,
    IssuedStatus,
    IssuedSuspended,
    NotIssued,
    RevocationReason,
)
from webapi.pki.service import CrlNotPublished, CrlUncertain
from webapi.published_lists import Crl, CrlSource
from webapi.request_watch import new_incident
from webapi.storage.certificates import CertificateRecord, CertificateState, SqlCertificateStore
from webapi.uncaught import causes_of

_log = structlog.get_logger(__name__)

DELTA = ".delta"
"""What the name of a delta list ends with."""


MAX_KEPT_REQUESTS = 4_096
"""Requests without nonce that are understood without reading them again."""

MAX_KEPT_REQUEST = 256
"""Bytes of one: such a request has about 120 with SHA-256."""


class PresignedSource(Protocol):
    """`webapi.presigning.PresignedLane`."""

    def find(self, question: Question, at: datetime) -> Answer | None:
        """The answer that was signed beforehand; None if there is none that is good now."""

    def note_answered(self, question: Question, answer: Answer) -> None:
        """Learn what was signed live, so that the next one is signed beforehand."""


class OcspService:
    """`webapi.pki.routes.PkiService` for CAs whose delegates' keys this process holds.

    Two lanes: what bears a nonce is signed live, for its asker alone; the same answer for everybody
    is signed beforehand, and live only where none is there yet.
    """

    def __init__(
        self,
        cas: Iterable[ResponderCa],
        store: SqlCertificateStore,
        clock: Callable[[], datetime],
        *,
        busy: tuple[type[Exception], ...],
        require_agreement: Callable[[], None],
        presigned: Mapping[str, PresignedSource] | None = None,
        lists: Mapping[str, CrlSource] | None = None,
    ) -> None:
        """Join the parts.

        Args:
            cas: whom we answer for.
            store: what they issued.
            clock: gives aware UTC.
            busy: errors that pass, or that a person ends; the answer to them is tryLater, and to
                every other internalError.
            require_agreement: raises one of them where the store is not today's.
            presigned: answers that were signed beforehand, by the CA's name.
            lists: revocation lists, by the CA's name.
        """
        self._cas = {ca.name: ca for ca in cas}
        self._presigned = presigned or {}
        self._lists = lists or {}
        self._require_agreement = require_agreement
        self._statuses = StoredStatuses(store, require_agreement)
        self._clock = clock
        self._busy = busy
        # The same bytes mean the same at any time, and CAs do not change here.
        self._understood: dict[tuple[bytes, str | None], Question] = {}
        self._certificates = {
            ca.name: ca.certificate.public_bytes(Encoding.DER) for ca in self._cas.values()
        }

    def answer(self, unverified_request: bytes, ca: str | None) -> Answer:
        """Answer as the named CA's responder, or as any of ours.

        Whatever keeps an answer from being signed is logged, and told as RFC 6960 section 4.2.1 has
        it: a client of a responder understands its statuses, and no others.
        """
        question = self._understood.get((unverified_request, ca))
        if question is None:
            cas = [known for name, known in self._cas.items() if ca in (None, name)]
            understood = understand(unverified_request, cas)
            if isinstance(understood, Answer):
                return understood
            question = understood
            self._keep_understood(unverified_request, ca, question)
        try:
            return self._answer(question, self._clock())
        except Exception as error:  # noqa: BLE001 - there is a status for each
            return self._declined(error)

    def _keep_understood(self, request: bytes, ca: str | None, question: Question) -> None:
        """Remember what was understood, if the very same bytes may come again."""
        if question.nonce is None and len(request) <= MAX_KEPT_REQUEST:
            if len(self._understood) >= MAX_KEPT_REQUESTS:
                self._understood.clear()
            self._understood[request, ca] = question

    def _declined(self, error: Exception) -> Answer:
        """The status for a failure, which is logged under the incident that the answer names."""
        incident = new_incident()
        if isinstance(error, self._busy):
            _log.warning("ocsp_try_later", incident=incident, error_class=type(error).__qualname__)
            return decline(Declined.TRY_LATER, incident=incident)
        _log.error("ocsp_internal_error", incident=incident, causes=causes_of(error))
        return decline(Declined.INTERNAL_ERROR, incident=incident)

    def _answer(self, question: Question, at: datetime) -> Answer:
        presigned = self._presigned.get(question.ca.name) if question.nonce is None else None
        if presigned is None:
            return answer_live(question, self._statuses, at)
        found = presigned.find(question, at)
        if found is None:
            found = answer_live(question, self._statuses, at)
            presigned.note_answered(question, found)
        return found

    def malformed(self) -> Answer:
        """The answer to what cannot even be decoded."""
        return decline(Declined.MALFORMED_REQUEST)

    def certificate(self, ca: str) -> bytes | None:
        """DER of a CA's certificate; None if it is not ours."""
        return self._certificates.get(ca)

    def list_certificate(self, ca: str) -> bytes | None:
        """DER of the certificate that verifies a CA's newest list; None if there is none here.

        Raises:
            CrlUncertain: the records are in doubt, or cannot be read now.
        """
        source = self._lists.get(ca)
        try:
            found = None if source is None else source.certificate()
            # In this order: what was read is of the database that is compared.
            self._require_agreement()
        except self._busy as e:
            raise CrlUncertain from e
        return found

    def crl(self, name: str) -> Crl | None:
        """The newest complete (`<ca>`) or delta list (`<ca>.delta`); None if none is made here.

        Raises:
            CrlNotPublished: the first is not there yet.
            CrlUncertain: the records are in doubt, or cannot be read now.
        """
        ca = name.removesuffix(DELTA)
        source = self._lists.get(ca)
        if source is None:
            return None
        try:
            newest = source.newest()
            # In this order: what was read is of the database that is compared.
            self._require_agreement()
        except self._busy as e:
            raise CrlUncertain from e
        if newest is None:
            raise CrlNotPublished
        return newest.complete if name == ca else newest.delta


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
        return NotIssued() if record is None else status_of(record)


def status_of(record: CertificateRecord) -> IssuedStatus:
    """What is said of a certificate in this state."""
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
