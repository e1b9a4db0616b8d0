"""Accepting a ballot once and handing out its receipt: what is stored counts before the window."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from signer.receipts.election import Manifest
from signer.receipts.errors import (
    ElectionNotYetOpen,
    ElectionOver,
    SubmissionConflict,
    SubmissionVanished,
)
from signer.receipts.leaf import SLOT_SECONDS, commit
from signer.receipts.receipt import serialise_receipt
from signer.receipts.registration import Registration
from signer.receipts.salt import SaltKey, SaltVault


@dataclass(frozen=True, slots=True)
class Release:
    """What makes a receipt of a registration, once its checkpoint is durable.

    Attributes:
        index: the entry's position.
        entry: the log entry.
        path: inclusion path for the checkpoint's size.
        checkpoint: the signed note, as it was committed.
    """

    index: int
    entry: bytes
    path: tuple[bytes, ...]
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class StoredRegistration:
    """A registration as the store keeps it.

    Attributes:
        submission_id: unique with the election.
        ballot_sha256: 32 bytes.
        sealed_salt: the encrypted salt.
        release: None until the receipt may go out.
    """

    submission_id: str
    ballot_sha256: bytes
    sealed_salt: bytes = field(repr=False)
    release: Release | None


@dataclass(frozen=True, slots=True)
class NewRegistration:
    """What is inserted for a newly accepted ballot; never an exact time.

    Attributes:
        submission_id: unique with the election.
        ballot_sha256: 32 bytes.
        commitment: 32 bytes.
        accepted_slot: unix time / 600.
        sealed_salt: the encrypted salt.
        evidence: the election system's signed request.
        in_batch: whether that request is the evidence for many ballots.
    """

    submission_id: str
    ballot_sha256: bytes
    commitment: bytes
    accepted_slot: int
    sealed_salt: bytes = field(repr=False)
    evidence: bytes = field(repr=False)
    in_batch: bool


class RegistrationStore(Protocol):
    """Where registrations are kept; each call is durable when it returns."""

    def find(
        self, election_id: str, submission_ids: Collection[str]
    ) -> Mapping[str, StoredRegistration]:
        """The registrations that there are of these ids, by id."""

    def insert(self, election_id: str, new: Collection[NewRegistration]) -> frozenset[str]:
        """Insert registrations in one transaction, unless the election was ordered to close.

        Args:
            election_id: the election.
            new: no two of one id.

        Returns:
            The ids that were inserted. The others were taken: a constraint of the database
            says so.

        Raises:
            ElectionOver: the order to close came first; nothing was inserted.
        """


@dataclass(frozen=True, slots=True)
class Submission:
    """A registration and the moment at which it is judged (aware UTC)."""

    registration: Registration
    at: datetime


Refusal = SubmissionConflict | ElectionNotYetOpen | ElectionOver | SubmissionVanished
"""Why one ballot is not taken; it says nothing of the others that came with it."""


def slot_of(at: datetime) -> int:
    """The ten-minute slot of an instant: unix time / 600, rounded down."""
    return int(at.timestamp()) // SLOT_SECONDS


def register(
    submissions: Sequence[Submission],
    manifest: Manifest,
    *,
    store: RegistrationStore,
    vault: SaltVault,
    draw_salt: Callable[[], bytes],
    may_be_repeated: bool = False,
) -> list[StoredRegistration | Refusal]:
    """Accept ballots of one election, each once, and judge each as if it had come alone.

    1. Judge the window. Who comes in time draws a salt and is inserted, all in one transaction;
       an id that is taken is left as it is. A constraint of the database decides who was first.
    2. Look the others up: those whose id is taken, and those whom the window or the order to
       close refuses. The same ballot is a retry and gets what is stored, even when the election
       is over; another ballot is a conflict.
    3. Only who is not stored is refused for coming too early or too late.

    Args:
        submissions: of the manifest's election; an id may occur more than once.
        manifest: tells the window.
        store: keeps the registrations.
        vault: encrypts the salts.
        draw_salt: gives 32 random bytes.
        may_be_repeated: look first which ids are there already. It changes no outcome: it saves
            drawing up in vain what is likely to be stored.

    Returns:
        For each submission, in order, what is stored, or why it is refused.

    Raises:
        SaltErased: the election's salt key is gone.
        ElectionNotFound: the store does not know the election.
    """
    election_id = manifest.election_id
    known: Mapping[str, StoredRegistration] = {}
    if may_be_repeated:
        known = store.find(election_id, {item.registration.submission_id for item in submissions})
    # (1)
    drawn, refusals = _drawn_up(submissions, known, manifest, vault=vault, draw_salt=draw_salt)
    inserted: frozenset[str] = frozenset()
    if drawn:
        try:
            inserted = store.insert(election_id, [new for _, new in drawn.values()])
        except ElectionOver as error:
            refusals = dict.fromkeys(range(len(submissions)), error) | refusals
    fresh = {place: new for place, new in drawn.values() if new.submission_id in inserted}
    # (2)
    others = {
        item.registration.submission_id
        for place, item in enumerate(submissions)
        if place not in fresh
    } - known.keys()
    stored = {**known, **(store.find(election_id, others) if others else {})}
    return [
        StoredRegistration(new.submission_id, new.ballot_sha256, new.sealed_salt, None)
        if (new := fresh.get(place))
        else _judged(item.registration, stored, refusals.get(place))
        for place, item in enumerate(submissions)
    ]


def receipt_of(stored: StoredRegistration, release: Release, *, key: SaltKey) -> bytes:
    """The receipt's bytes: a pure function of stored facts, so the same at each call.

    Raises:
        SaltDamaged: the salt does not open under the election's key.
    """
    return serialise_receipt(
        entry=release.entry,
        salt=key.open(stored.submission_id, stored.sealed_salt),
        index=release.index,
        path=release.path,
        checkpoint=release.checkpoint,
    )


def _outside_window(manifest: Manifest, *, at: datetime) -> Refusal | None:
    if at < manifest.opens_at:
        return ElectionNotYetOpen(f"ballots are taken from {manifest.opens_at:%Y-%m-%dT%H:%MZ}")
    if at >= manifest.closes_at:
        return ElectionOver("the window for ballots is over")
    return None


def _drawn_up(
    submissions: Sequence[Submission],
    known: Collection[str],
    manifest: Manifest,
    *,
    vault: SaltVault,
    draw_salt: Callable[[], bytes],
) -> tuple[dict[str, tuple[int, NewRegistration]], dict[int, Refusal]]:
    """What is to be inserted by id, with its place; and the refusals by place.

    The first submission of an id is inserted; others of that id will find it stored.
    """
    drawn: dict[str, tuple[int, NewRegistration]] = {}
    refusals: dict[int, Refusal] = {}
    key: SaltKey | None = None
    for place, item in enumerate(submissions):
        registration = item.registration
        name = registration.submission_id
        if name in known:
            continue
        refusal = _outside_window(manifest, at=item.at)
        if refusal is not None:
            refusals[place] = refusal
        elif name not in drawn:
            key = key or vault.key(manifest.election_id)
            salt = draw_salt()
            new = NewRegistration(
                submission_id=name,
                ballot_sha256=registration.ballot_sha256,
                commitment=commit(salt, registration.ballot_sha256),
                accepted_slot=slot_of(item.at),
                sealed_salt=key.seal(name, salt),
                evidence=registration.evidence,
                in_batch=registration.in_batch,
            )
            drawn[name] = (place, new)
    return drawn, refusals


def _judged(
    asked: Registration, stored: Mapping[str, StoredRegistration], refusal: Refusal | None
) -> StoredRegistration | Refusal:
    """What became of a submission that was not inserted by itself."""
    found = stored.get(asked.submission_id)
    if found is not None:
        if found.ballot_sha256 == asked.ballot_sha256:
            return found
        return SubmissionConflict("another ballot is registered under this id")
    # (3)
    if refusal is None:
        return SubmissionVanished("the database holds an id as taken and does not show it")
    return refusal
