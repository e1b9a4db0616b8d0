"""One election on a real database and a real folder, which survive a simulated crash."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from signer.payload import Purpose
from signer.receipts.acceptance import (
    StoredRegistration,
    Submission,
    receipt_of,
    register,
)
from signer.receipts.batch import PendingBallot
from signer.receipts.growth import SilentObserver, StepObserver
from signer.receipts.opening import open_sequencer
from signer.receipts.policy import Policy
from signer.receipts.registration import (
    ElectionSystem,
    UnverifiedRegistration,
    sign_close,
    sign_registration,
    verify_close,
    verify_registration,
)
from signer.receipts.salt import draw_salt
from signer.receipts.sequencer import Sequencer
from signer.receipts.tile_store import TileFolder
from signer.receipts.verify import VerifiedReceipt, verify_receipt
from tests.support.databases import Database
from tests.support.receipts import AUDIENCE, NOW, PURPOSES, TrialElection
from webapi.storage.elections import SqlElectionStore
from webapi.storage.engine import make_engine
from webapi.storage.log_store import SqlLogStore
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.storage.registrations import SqlRegistrationStore
from webapi.storage.salt_keys import FileSaltVault


def submission_id(number: int) -> str:
    return f"submission-{number:08d}"


def ballot(number: int) -> bytes:
    return b"sealed ballot %d" % number


def reverse(pending: list[PendingBallot]) -> None:
    pending.sort(key=lambda item: item.submission_id, reverse=True)


@dataclass
class ReceiptDisk:
    folder: Path
    election: TrialElection = field(default_factory=TrialElection)
    database: Database | None = None
    """Where the rows are; without it an SQLite file in the folder."""
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        if self.database is not None:
            self.engine = self.database.engine(Realm.BALLOTS)
        else:
            data = self.folder / "data"
            data.mkdir(mode=0o700, exist_ok=True)
            self.engine = make_engine(f"sqlite:///{data}/ballots.db", Realm.BALLOTS)
            upgrade(self.engine, Realm.BALLOTS)
        self.manifest = self.election.manifest()
        self.vault = FileSaltVault(self.folder / "salts")
        self.files = TileFolder(self.folder / "logs" / self.election.election_id)
        self.elections = SqlElectionStore(self.engine)
        self.registrations = SqlRegistrationStore(self.engine)
        self.log = SqlLogStore(self.engine)
        self.system = ElectionSystem(
            self.election.election_id, self.election.system_key.public_key(), AUDIENCE
        )

    def create(self) -> "ReceiptDisk":
        self.vault.ensure_key(self.election.election_id)
        self.elections.create(self.manifest)
        return self

    def sequencer(
        self,
        *,
        observer: StepObserver | None = None,
        at: datetime = NOW,
        purposes: Sequence[Purpose] = PURPOSES,
        shuffle: Callable[[list[PendingBallot]], None] = reverse,
    ) -> Sequencer:
        return open_sequencer(
            self.manifest,
            store=self.log,
            files=self.files,
            backend=self.election.signer,
            purposes=purposes,
            at=at,
            observer=observer or SilentObserver(),
            shuffle=shuffle,
        )

    def registration_jws(
        self, number: int, *, content: bytes | None = None, at: datetime = NOW
    ) -> bytes:
        return sign_registration(
            private_key=self.election.system_key,
            audience=AUDIENCE,
            election_id=self.election.election_id,
            submission_id=submission_id(number),
            ballot_sha256=hashlib.sha256(content or ballot(number)).digest(),
            at=at,
        ).encode()

    def register(
        self, number: int, *, content: bytes | None = None, at: datetime = NOW
    ) -> StoredRegistration:
        body = self.registration_jws(number, content=content, at=at)
        (verified,) = verify_registration(UnverifiedRegistration.parse(body), self.system, at=at)
        (outcome,) = register(
            [Submission(verified, at)],
            self.manifest,
            store=self.registrations,
            vault=self.vault,
            draw_salt=draw_salt,
        )
        if not isinstance(outcome, StoredRegistration):
            raise outcome
        return outcome

    def close_jws(self, *, size: int = 2, root: bytes = bytes(32)) -> bytes:
        return sign_close(
            private_key=self.election.system_key,
            audience=AUDIENCE,
            election_id=self.election.election_id,
            no_vote_root=root,
            no_vote_size=size,
            at=NOW,
        ).encode()

    def close(self) -> None:
        order = verify_close(
            self.close_jws(), self.system, no_vote_proof=self.manifest.no_vote_proof, at=NOW
        )
        self.elections.close(order)

    def receipt(self, number: int) -> bytes | None:
        election_id = self.election.election_id
        stored = self.registrations.find(election_id, [submission_id(number)])[
            submission_id(number)
        ]
        if stored.release is None:
            return None
        return receipt_of(stored, stored.release, key=self.vault.key(election_id))

    def verified(self, number: int) -> VerifiedReceipt:
        receipt = self.receipt(number)
        assert receipt is not None
        return verify_receipt(receipt, ballot(number), Policy.parse(self.manifest.policy()))
