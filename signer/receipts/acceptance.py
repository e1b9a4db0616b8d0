"""Accepting a ballot once and handing out its receipt: look-up first, then the window."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from signer.receipts.election import Manifest
from signer.receipts.errors import (
    ElectionNotYetOpen,
    ElectionOver,
    SubmissionConflict,
    SubmissionExists,
    SubmissionNotFound,
)
from signer.receipts.leaf import SLOT_SECONDS, commit
from signer.receipts.receipt import serialise_receipt
from signer.receipts.registration import ReceiptRequest, Registration
from signer.receipts.salt import SaltVault


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
        election_id, submission_id: the key.
        ballot_sha256: 32 bytes.
        commitment: 32 bytes.
        accepted_slot: unix time / 600.
        sealed_salt: the encrypted salt.
        evidence: the election system's signed request.
    """

    election_id: str
    submission_id: str
    ballot_sha256: bytes
    commitment: bytes
    accepted_slot: int
    sealed_salt: bytes = field(repr=False)
    evidence: bytes = field(repr=False)


class RegistrationStore(Protocol):
    """Where registrations are kept; each call is durable when it returns."""

    def find(self, election_id: str, submission_id: str) -> StoredRegistration | None:
        """The registration of this id, if there is one."""

    def insert(self, new: NewRegistration) -> None:
        """Insert a registration, unless the election was ordered to close.

        Raises:
            SubmissionExists: the id is taken (a constraint of the database says so).
            ElectionOver: the order to close came first.
        """


def slot_of(at: datetime) -> int:
    """The ten-minute slot of an instant: unix time / 600, rounded down."""
    return int(at.timestamp()) // SLOT_SECONDS


def register(
    registration: Registration,
    manifest: Manifest,
    *,
    store: RegistrationStore,
    vault: SaltVault,
    draw_salt: Callable[[], bytes],
    at: datetime,
) -> StoredRegistration:
    """Accept a ballot, once.

    1. Look the id up: the same ballot is a retry and gets what is stored, even when
       the election is over; another ballot is a conflict.
    2. Only then judge the window.
    3. Draw the salt, commit, insert.
    4. Who is refused by 2 or 3 looks once more: the twin of this request may have come in
       between, and the end after it.

    Raises:
        SubmissionConflict: another ballot has this id.
        ElectionNotYetOpen, ElectionOver: a new ballot outside the window.
        SaltErased: the election's salt key is gone.
    """
    # (1)
    stored = store.find(registration.election_id, registration.submission_id)
    if stored is None:
        try:
            # (2)
            _require_open(manifest, at=at)
            # (3)
            new = _drawn_up(registration, vault=vault, draw_salt=draw_salt, at=at)
            store.insert(new)
        except (SubmissionExists, ElectionOver):
            # (4)
            stored = store.find(registration.election_id, registration.submission_id)
            if stored is None:
                raise
        else:
            return StoredRegistration(new.submission_id, new.ballot_sha256, new.sealed_salt, None)
    return _same_ballot(stored, registration)


def fetch(request: ReceiptRequest, *, store: RegistrationStore) -> StoredRegistration:
    """The registration that a verified request asks for.

    Raises:
        SubmissionNotFound: there is none.
    """
    stored = store.find(request.election_id, request.submission_id)
    if stored is None:
        raise SubmissionNotFound("no ballot was registered under this id")
    return stored


def receipt_of(
    stored: StoredRegistration, release: Release, election_id: str, *, vault: SaltVault
) -> bytes:
    """The receipt's bytes: a pure function of stored facts, so the same at each call.

    Raises:
        SaltErased, SaltDamaged: the salt cannot be had.
    """
    return serialise_receipt(
        entry=release.entry,
        salt=vault.open(election_id, stored.submission_id, stored.sealed_salt),
        index=release.index,
        path=release.path,
        checkpoint=release.checkpoint,
    )


def _require_open(manifest: Manifest, *, at: datetime) -> None:
    if at < manifest.opens_at:
        raise ElectionNotYetOpen(f"ballots are taken from {manifest.opens_at:%Y-%m-%dT%H:%MZ}")
    if at >= manifest.closes_at:
        raise ElectionOver("the window for ballots is over")


def _drawn_up(
    registration: Registration,
    *,
    vault: SaltVault,
    draw_salt: Callable[[], bytes],
    at: datetime,
) -> NewRegistration:
    salt = draw_salt()
    return NewRegistration(
        election_id=registration.election_id,
        submission_id=registration.submission_id,
        ballot_sha256=registration.ballot_sha256,
        commitment=commit(salt, registration.ballot_sha256),
        accepted_slot=slot_of(at),
        sealed_salt=vault.seal(registration.election_id, registration.submission_id, salt),
        evidence=registration.evidence,
    )


def _same_ballot(stored: StoredRegistration, asked: Registration) -> StoredRegistration:
    if stored.ballot_sha256 != asked.ballot_sha256:
        raise SubmissionConflict("another ballot is registered under this id")
    return stored
