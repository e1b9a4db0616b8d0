"""The lane of answers that are signed beforehand: part of the wiring.

    a request without nonce -> find -> sent as it lies there
                                none -> signed live, and the certificate is noted
    background job          -> what was noted, and what is due, is signed and kept

What is kept, is kept in the database for all listeners; `webapi.storage.presigned_answers` sees to
it that a revocation is in the next answer of each of them.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from ocsp.responder.answering import Answer, Question, ResponderCa
from ocsp.responder.presigning import refresh_due, sign_twins
from webapi.ocsp_service import status_of
from webapi.storage.presigned_answers import (
    MAX_TOLD,
    AnswerToKeep,
    PresignedAnswer,
    RecordToAnswer,
    SqlPresignedAnswers,
)

BATCH = 64
"""Certificates that are signed for and kept at once."""

MAX_NOTED = 10_000
"""Certificates that are remembered between two runs of the job."""


class PresignedLane:
    """`webapi.ocsp_service.PresignedSource` of one CA, and the job that fills it.

    Args:
        ca: signs.
        answers: what is kept.
        validity: of an answer, from thisUpdate to nextUpdate.
        require_agreement: raises where the records are not today's.
        clock: gives aware UTC.
    """

    def __init__(
        self,
        ca: ResponderCa,
        answers: SqlPresignedAnswers,
        *,
        validity: timedelta,
        require_agreement: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._ca = ca
        self._answers = answers
        self._validity = validity
        self._require_agreement = require_agreement
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[int, datetime] = {}
        self._to_tell: set[int] = set()
        self._missed: set[int] = set()

    def find(self, question: Question, at: datetime) -> Answer | None:
        """The answer that was signed beforehand; None if there is none that is good now.

        Raises:
            AnswersOnHold: nothing is said of any certificate.
            StorageError: what `require_agreement` raises.
        """
        serial = question.cert_id.serial_number
        found = self._answers.find(serial, question.cert_id.hash_name, at)
        if found is None:
            return None
        # In this order: what was read is of the database that is compared.
        self._require_agreement()
        if self._asked.get(serial) != found.this_update:
            self._note_asked(serial, found.this_update)
        return _answer(found)

    def note_answered(self, question: Question, answer: Answer) -> None:
        """Remember the certificate, if the answer is good for everybody."""
        if answer.cacheable:
            with self._lock:
                if len(self._missed) < MAX_NOTED:
                    self._missed.add(question.cert_id.serial_number)

    def run_once(self) -> bool:
        """Sign what was missed and what is due; True when more of it is left.

        Raises:
            StorageError, pkcs11_bridge.errors.TokenError, signer.errors.PermitError: the rest is
                left for the next run.
        """
        at = self._clock()
        with self._lock:
            told, self._to_tell = self._to_tell, set()
            missed = set(list(self._missed)[:BATCH])
            self._missed -= missed
            is_more_missed = bool(self._missed)
        if told:
            self._answers.note_asked(told, at)
        if missed:
            self._sign(self._answers.records_of(missed), at)
        due = self._answers.take_due(limit=BATCH, at=at)
        self._sign(due, at)
        return is_more_missed or len(due) == BATCH

    def purge(self) -> None:
        """Remove what nobody asked for until it was over."""
        self._answers.purge(self._clock())

    def _note_asked(self, serial: int, this_update: datetime) -> None:
        """Once for each answer: that it was asked for is written down for all processes."""
        with self._lock:
            if len(self._asked) >= MAX_NOTED:
                self._asked.clear()
            self._asked[serial] = this_update
            if len(self._to_tell) < MAX_NOTED:
                self._to_tell.add(serial)

    def _sign(self, records: Sequence[RecordToAnswer], at: datetime) -> None:
        if not records:
            return
        self._require_agreement()
        if self._ca.can_sign(at):
            self._answers.keep([self._signed(to_answer, at) for to_answer in records])

    def _signed(self, to_answer: RecordToAnswer, at: datetime) -> AnswerToKeep:
        record = to_answer.record
        twins = sign_twins(self._ca, record.serial, status_of(record), at, validity=self._validity)
        return AnswerToKeep(
            serial=record.serial,
            revision=to_answer.revision,
            this_update=twins.this_update,
            next_update=twins.next_update,
            refresh_at=refresh_due(twins.this_update, twins.next_update),
            sha1=twins.sha1,
            sha256=twins.sha256,
        )


@lru_cache(maxsize=MAX_TOLD)
def _answer(found: PresignedAnswer) -> Answer:
    return Answer(
        found.der,
        this_update=found.this_update,
        next_update=found.next_update,
        cacheable=True,
        presigned=True,
    )
