"""Opening elections: what an operator does, not what HTTP asks for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric import ec

from signer.receipts.election import Manifest, draw_up_manifest
from signer.receipts.errors import ElectionExists
from signer.receipts.note import NotePublicKey
from webapi.storage.elections import SqlElectionStore, StoredElection
from webapi.storage.salt_keys import FileSaltVault


@dataclass(frozen=True, slots=True)
class ElectionPlan:
    """What an operator decides about a new election.

    Attributes:
        election_id: its name in paths, 1 to 64 of a-z, 0-9 and inner hyphens.
        title: what people call it.
        domain: the log is named `domain/election_id`.
        opens_at: from then on ballots are taken; aware UTC, whole seconds.
        closes_at: from then on new ones are refused.
        election_system_key: P-256; signs registrations and the closing.
        standby_keys: log keys on another token, ready to take over.
        no_vote_proof: whether the close record will hold a tree of those who voted.
    """

    election_id: str
    title: str
    domain: str
    opens_at: datetime
    closes_at: datetime
    election_system_key: ec.EllipticCurvePublicKey
    standby_keys: tuple[NotePublicKey, ...]
    no_vote_proof: bool


@dataclass(frozen=True, slots=True)
class ElectionOffice:
    """Creates and lists elections.

    Attributes:
        elections: stores them.
        vault: makes their salt keys.
        log_keys: gives the public keys that sign now.
        next_keys: gives those that are declared to follow: each log pins them as standby keys.
    """

    elections: SqlElectionStore
    vault: FileSaltVault
    log_keys: Callable[[], Sequence[NotePublicKey]]
    next_keys: Callable[[], Sequence[NotePublicKey]]

    def create(self, plan: ElectionPlan) -> Manifest:
        """Create an election; the worker signs its genesis record within a moment.

        Raises:
            ManifestMalformed: a value of the plan is not allowed.
            ElectionExists: there is an election of this id.
        """
        manifest = draw_up_manifest(
            election_id=plan.election_id,
            title=plan.title,
            domain=plan.domain,
            opens_at=plan.opens_at,
            closes_at=plan.closes_at,
            election_system_key=plan.election_system_key,
            current_keys=self.log_keys(),
            standby_keys=(*plan.standby_keys, *self.next_keys()),
            no_vote_proof=plan.no_vote_proof,
        )
        # Before its key: the key of an election that exists may have been erased for good.
        if self.elections.exists(plan.election_id):
            raise ElectionExists("an election of this id exists")
        self.vault.ensure_key(plan.election_id)
        self.elections.create(manifest)
        return manifest

    def list_all(self) -> Sequence[StoredElection]:
        """All elections, by id."""
        return self.elections.list_all()

    def get(self, election_id: str) -> StoredElection:
        """One election; raises ElectionNotFound."""
        return self.elections.get(election_id)
