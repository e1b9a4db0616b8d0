"""What the election and log routes do, on ready-made stores."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from signer.receipts.acceptance import Refusal
from signer.receipts.election import Manifest
from signer.receipts.errors import ElectionNotFound, TileMalformed, VotersExceedBallots
from signer.receipts.leaf import is_election_id
from signer.receipts.log_store import SignedCheckpoint
from signer.receipts.publication import Published
from signer.receipts.registration import (
    ElectionSystem,
    UnverifiedRegistration,
    verify_close,
    verify_receipt_request,
    verify_registration,
)
from signer.receipts.salt import SaltVault
from signer.receipts.tile_store import TileFolder
from signer.receipts.tiles import TileAddress, cut
from webapi.elections.errors import LogOnHold, NotPublished
from webapi.elections.registrar import ReadyReceipt, Registrar
from webapi.elections.waiting import ShortWait
from webapi.limits import SourceLimiter
from webapi.storage.elections import SqlElectionStore, StoredElection
from webapi.storage.log_holds import SqlLogHolds
from webapi.storage.log_store import SqlLogStore
from webapi.storage.registrations import SqlRegistrationStore


@dataclass(frozen=True, slots=True)
class ElectionView:
    """An election as the public sees it."""

    manifest: Manifest
    stored: StoredElection


@dataclass(frozen=True, slots=True)
class ElectionsService:
    """Registers ballots, hands out receipts, closes, and shows the public log.

    Attributes:
        audience: this service's origin, as requests must state it.
        elections: stores elections.
        registrations: stores registered ballots.
        log: the logs' database.
        holds: knows which logs wait for a person since their database was put back.
        vault: keeps the salt keys.
        tiles: gives the folder of an election's log.
        wait: how long a request may wait for its receipt.
        limiter: how often one election system's key may register.
    """

    audience: str
    elections: SqlElectionStore
    registrations: SqlRegistrationStore
    log: SqlLogStore
    holds: SqlLogHolds
    vault: SaltVault
    tiles: Callable[[str], TileFolder]
    wait: ShortWait
    limiter: SourceLimiter
    # Manifests never change; what follows from one is made once per election.
    _registrars: dict[str, Registrar] = field(default_factory=dict, repr=False)

    def register(
        self, election_id: str, unverified_body: bytes, *, at: datetime
    ) -> tuple[str, ReadyReceipt | None]:
        """Register a ballot, once.

        Returns:
            The submission id, and the receipt if it was ready within the short wait.

        Raises:
            RequestRefused, ElectionNotFound, SubmissionConflict, ElectionNotYetOpen,
            ElectionOver, SaltErased, TooManyRequests: as they say.
        """
        registrar = self._registrar(election_id)
        unverified = UnverifiedRegistration.parse(unverified_body)
        (registration,) = verify_registration(unverified, registrar.system, at=at)
        # Only now is it known whose request it is; nobody spends what another may send.
        self.limiter.spend(registrar.system.key_id, at)
        return registration.submission_id, registrar.register(registration, at=at)

    def register_batch(
        self, election_id: str, unverified_body: bytes, *, at: datetime
    ) -> list[tuple[str, ReadyReceipt | Refusal | None]]:
        """Register many ballots by one request, each once; sent again, it fetches their receipts.

        Returns:
            In the request's order: the submission id, and the receipt, or why this ballot is
            refused, or None if it is stored and its receipt not ready within the short wait.

        Raises:
            RequestRefused, ElectionNotFound, SaltErased, TooManyRequests: as they say; nothing
                was registered.
        """
        registrar = self._registrar(election_id)
        unverified = UnverifiedRegistration.parse_batch(unverified_body)
        registrations = verify_registration(unverified, registrar.system, at=at)
        self.limiter.spend(registrar.system.key_id, at, tokens=len(registrations))
        answers = registrar.register_all(registrations, at=at)
        names = [registration.submission_id for registration in registrations]
        return list(zip(names, answers, strict=True))

    def fetch(
        self, election_id: str, submission_id: str, unverified_token: bytes, *, at: datetime
    ) -> ReadyReceipt | None:
        """The receipt of a submission; None while it is not ready.

        Raises:
            RequestRefused, ElectionNotFound, SubmissionNotFound, SaltErased: as they say.
        """
        registrar = self._registrar(election_id)
        request = verify_receipt_request(unverified_token, submission_id, registrar.system, at=at)
        return registrar.fetch(request)

    def close(
        self, election_id: str, unverified_order: bytes, *, at: datetime
    ) -> SignedCheckpoint | None:
        """Order an election to close; the same order may be repeated.

        Returns:
            The closing checkpoint, None while what is pending goes into the log.

        Raises:
            RequestRefused, ElectionNotFound, CloseConflict: as they say; VotersExceedBallots
                is one of the first.
        """
        registrar = self._registrar(election_id)
        order = verify_close(
            unverified_order,
            registrar.system,
            no_vote_proof=registrar.manifest.no_vote_proof,
            at=at,
        )
        # Each voter has one ballot or more. Until the order is recorded ballots only come in,
        # so that what is plausible now stays so.
        if order.no_vote_size > self.registrations.count(election_id):
            raise VotersExceedBallots("the order states more voters than there are ballots")
        self.elections.close(order)
        return self.wait.find(lambda: self._closing_checkpoint(election_id))

    def list_public(self) -> list[ElectionView]:
        """All elections, by id."""
        return [
            ElectionView(self._manifest(stored.election_id), stored)
            for stored in self.elections.list_all()
        ]

    def view(self, election_id: str) -> ElectionView:
        """One election; raises ElectionNotFound."""
        return ElectionView(self._manifest(election_id), self._stored(election_id))

    def published_size(self, election_id: str) -> int | None:
        """How far the public sees, None while the log is on hold; raises ElectionNotFound."""
        try:
            return self._published(election_id).size
        except LogOnHold:
            return None

    def policy(self, election_id: str) -> bytes:
        """The log's trust policy file; raises ElectionNotFound."""
        return self._manifest(election_id).policy()

    def published_checkpoint(self, election_id: str) -> bytes:
        """The public checkpoint.

        Raises:
            ElectionNotFound: there is no such election.
            LogOnHold: the database may know less than the public saw.
            NotPublished: not even the genesis record is public yet.
        """
        published = self._published(election_id)
        checkpoint = self.log.checkpoint(election_id, published.size)
        if checkpoint is None:
            raise NotPublished("nothing of this log is public yet")
        return checkpoint.note

    def published_tile(self, election_id: str, path: str) -> bytes:
        """A tile or entry bundle of the public part of the log.

        Args:
            election_id: the election.
            path: the path below `tile/`.

        Raises:
            ElectionNotFound: there is no such election.
            LogOnHold: the database may know less than the public saw.
            NotPublished: there is no such tile, or the public does not see all of it.
        """
        published = self._published(election_id)
        try:
            address = TileAddress.parse(path)
        except TileMalformed as error:
            raise NotPublished("there is no such tile") from error
        if not address.is_within(published.size):
            raise NotPublished("the public does not see this tile")
        widest = self.tiles(election_id).read(address.level, address.number)
        if widest is None:
            raise FileNotFoundError(f"published tile {path} is missing")
        return cut(address, widest)

    def _published(self, election_id: str) -> Published:
        # The hold is read first: when one is released, how far the public saw is recorded.
        if is_election_id(election_id) and self.holds.is_held(election_id):
            raise LogOnHold("the log is on hold")
        return self._stored(election_id).published

    def _stored(self, election_id: str) -> StoredElection:
        if not is_election_id(election_id):
            raise ElectionNotFound("there is no such election")
        return self.elections.get(election_id)

    def _manifest(self, election_id: str) -> Manifest:
        return self._registrar(election_id).manifest

    def _registrar(self, election_id: str) -> Registrar:
        if election_id not in self._registrars:
            manifest = Manifest.parse(self._stored(election_id).manifest)
            key = manifest.election_system_key
            made = Registrar(
                manifest,
                ElectionSystem(manifest.election_id, key, self.audience),
                store=self.registrations,
                vault=self.vault,
                wait=self.wait,
            )
            # Of threads that made one each, all use the first: together they are combined.
            self._registrars.setdefault(election_id, made)
        return self._registrars[election_id]

    def _closing_checkpoint(self, election_id: str) -> SignedCheckpoint | None:
        state = self.log.log_state(election_id)
        if not state.closed or state.signed is None or state.signed.size != state.entries:
            return None
        return state.signed
