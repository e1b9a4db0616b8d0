"""One election's registrations and receipts; what comes in at the same moment is combined."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeGuard

from signer.receipts.acceptance import (
    Refusal,
    RegistrationStore,
    Release,
    StoredRegistration,
    Submission,
    receipt_of,
    register,
)
from signer.receipts.election import Manifest
from signer.receipts.errors import SubmissionNotFound
from signer.receipts.registration import ElectionSystem, ReceiptRequest, Registration
from signer.receipts.salt import SaltKey, SaltVault, draw_salt
from webapi.elections.combining import Combiner
from webapi.elections.waiting import ShortWait

MOST_COMBINED = 256
"""More than a web worker has threads."""


@dataclass(frozen=True, slots=True)
class ReadyReceipt:
    """A receipt that may go out.

    Attributes:
        index: the ballot's position.
        receipt: the file's bytes.
    """

    index: int
    receipt: bytes = field(repr=False)


class Registrar:
    """Registers an election's ballots and hands out their receipts.

    Transactions cost more than what is in them, so those of single requests that are under
    way at the same moment are one: each request still gets its own answer.

    Args:
        manifest: the election's.
        system: whose requests it gets, verified.
        store: keeps registrations.
        vault: keeps the salt keys.
        wait: how long a request may wait for its receipt.
    """

    def __init__(
        self,
        manifest: Manifest,
        system: ElectionSystem,
        *,
        store: RegistrationStore,
        vault: SaltVault,
        wait: ShortWait,
    ) -> None:
        self.manifest = manifest
        self.system = system
        self._store = store
        self._vault = vault
        self._wait = wait
        self._arrivals = Combiner(self._register, most=MOST_COMBINED)
        self._looks = Combiner(self._find, most=MOST_COMBINED)

    def register(self, registration: Registration, *, at: datetime) -> ReadyReceipt | None:
        """Register one ballot; its receipt if that is ready within the short wait.

        Raises:
            SubmissionConflict, ElectionNotYetOpen, ElectionOver, SaltErased: as they say.
        """
        outcome = self._arrivals.submit(Submission(registration, at))
        if not isinstance(outcome, StoredRegistration):
            raise outcome
        return self._await_receipt(outcome)

    def register_all(
        self, registrations: Sequence[Registration], *, at: datetime
    ) -> list[ReadyReceipt | Refusal | None]:
        """Register the ballots of one request in one transaction.

        Returns:
            For each ballot, in order, its receipt, or why it is refused, or None if its receipt
            is not ready within the short wait.

        Raises:
            SaltErased: the election's salt key is gone.
        """
        outcomes = self._register(
            [Submission(item, at) for item in registrations], may_be_repeated=True
        )
        pending = [item.submission_id for item in outcomes if _is_pending(item)]
        # Stored by one transaction, they get their receipts together, save at the edge of a
        # full batch: when the first has its own, all are looked up once.
        if pending and self._await_release(pending[0]) is not None:
            found = self._store.find(self.manifest.election_id, pending)
            outcomes = [
                found[item.submission_id] if _is_pending(item) else item for item in outcomes
            ]
        return self._ready(outcomes)

    def fetch(self, request: ReceiptRequest) -> ReadyReceipt | None:
        """The receipt that a verified request asks for; None while it is not ready.

        Raises:
            SubmissionNotFound, SaltErased: as they say.
        """
        stored = self._looks.submit(request.submission_id)
        if stored is None:
            raise SubmissionNotFound("no ballot was registered under this id")
        return self._await_receipt(stored)

    def _await_receipt(self, stored: StoredRegistration) -> ReadyReceipt | None:
        if stored.release is None:
            stored = self._await_release(stored.submission_id) or stored
        if stored.release is None:
            return None
        return _ready_receipt(stored, stored.release, self._vault.key(self.manifest.election_id))

    def _await_release(self, submission_id: str) -> StoredRegistration | None:
        """What is stored, if its receipt may go out now or within the short wait."""

        def look() -> StoredRegistration | None:
            stored = self._looks.submit(submission_id)
            return None if stored is None or stored.release is None else stored

        return self._wait.find(look)

    def _ready(
        self, outcomes: Sequence[StoredRegistration | Refusal]
    ) -> list[ReadyReceipt | Refusal | None]:
        key: SaltKey | None = None
        answers: list[ReadyReceipt | Refusal | None] = []
        for item in outcomes:
            if not isinstance(item, StoredRegistration):
                answers.append(item)
            elif item.release is None:
                answers.append(None)
            else:
                key = key or self._vault.key(self.manifest.election_id)
                answers.append(_ready_receipt(item, item.release, key))
        return answers

    def _register(
        self, submissions: Sequence[Submission], *, may_be_repeated: bool = False
    ) -> list[StoredRegistration | Refusal]:
        return register(
            submissions,
            self.manifest,
            store=self._store,
            vault=self._vault,
            draw_salt=draw_salt,
            may_be_repeated=may_be_repeated,
        )

    def _find(self, submission_ids: Sequence[str]) -> list[StoredRegistration | None]:
        found = self._store.find(self.manifest.election_id, set(submission_ids))
        return [found.get(submission_id) for submission_id in submission_ids]


def _ready_receipt(stored: StoredRegistration, release: Release, key: SaltKey) -> ReadyReceipt:
    """A pure function of what is stored, whichever way it is asked for."""
    return ReadyReceipt(release.index, receipt_of(stored, release, key=key))


def _is_pending(outcome: StoredRegistration | Refusal) -> TypeGuard[StoredRegistration]:
    return isinstance(outcome, StoredRegistration) and outcome.release is None
