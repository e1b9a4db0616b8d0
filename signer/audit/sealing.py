"""Seals what waits in an audit log: places, tiles, a checkpoint signed by the audit key.

The log is grown as every log is (`signer.receipts.growth`). A seal needs a permit of its own,
whose entry is sealed with the next batch; by itself that entry is no reason to seal.
"""

from datetime import datetime
from typing import Protocol

from signer.audit.errors import AuditKeyMalformed, AuditKeyUnknown
from signer.backend import SigningBackend
from signer.payload import AUDIT_ORIGIN_PREFIX, Purpose, audit_checkpoint_payload
from signer.receipts.acceptance import slot_of
from signer.receipts.errors import CheckpointFileMissing, PolicyMalformed
from signer.receipts.growth import GrowingLog, LogIdentity, Step, StepObserver
from signer.receipts.log_store import LogRecords, TileFiles
from signer.receipts.note import NoteAlgorithm, VerifierKey
from signer.receipts.opening import open_log
from signer.receipts.policy import LogKeys, Policy, serialise_policy
from signer.receipts.sequencer import Sequenced

SEAL_LIMIT = 4096
FIRST_GENERATION = 1


class AuditRecords(LogRecords, Protocol):
    """An audit log's database."""

    def assign(self, *, limit: int) -> int:
        """Give places to what waits, the oldest first, in one transaction.

        Nothing gets a place where nothing waits but entries of seals.

        Returns:
            How many entries got one.

        Raises:
            FenceLost: somebody else gave the same places.
        """

    def release(self, log_id: str, size: int) -> None:
        """Record that a checkpoint's file is written."""


class AuditFiles(TileFiles, Protocol):
    """An audit log's folder, which also holds the keys that are pinned for it."""

    def read_policy(self) -> bytes | None:
        """The policy file; None where there is none."""

    def write_policy(self, policy: bytes, *, slot: int) -> None:
        """Write the policy file, as durably as tiles."""


def audit_origin(host: str, realm: str, generation: int = FIRST_GENERATION) -> str:
    """The name of a generation of a realm's audit log; `host` is the service's, without a port."""
    suffix = "" if generation == FIRST_GENERATION else f"/{generation}"
    return f"{AUDIT_ORIGIN_PREFIX}{host}/{realm}{suffix}"


def audit_log_id(realm: str, generation: int = FIRST_GENERATION) -> str:
    """What names a generation in the database, and its folder."""
    return realm if generation == FIRST_GENERATION else f"{realm}-{generation}"


def pinned_keys(origin: str, files: AuditFiles) -> LogKeys:
    """The keys that the folder pins for an audit log.

    Raises:
        AuditKeyUnknown: it pins none.
        AuditKeyMalformed: what it pins is not P-256 keys of this log.
    """
    policy = files.read_policy()
    if policy is None:
        raise AuditKeyUnknown(f"nothing was sealed yet in {origin}, or its policy file is lost")
    try:
        keys = Policy.parse(policy).logs.get(origin)
    except PolicyMalformed as error:
        raise AuditKeyMalformed(f"the policy file of {origin} is malformed") from error
    if keys is None or {key.algorithm for key in keys.keys} != {NoteAlgorithm.ECDSA_P256}:
        raise AuditKeyMalformed(f"the policy file names no P-256 key of {origin}, or others too")
    return keys


def renamed(keys: LogKeys, origin: str) -> LogKeys:
    """The same public keys under another generation's name."""
    return LogKeys(origin, tuple(VerifierKey.of(origin, key.public_key) for key in keys.keys))


def audit_log(log_id: str, keys: LogKeys) -> LogIdentity:
    """A realm's audit log under the keys that are pinned for it."""
    return LogIdentity(log_id, keys, audit_checkpoint_payload)


def open_sealer(
    log_id: str,
    origin: str,
    *,
    records: AuditRecords,
    files: AuditFiles,
    backend: SigningBackend,
    at: datetime,
    observer: StepObserver,
) -> "Sealer":
    """Compare all records of an audit log; then it may be sealed.

    The caller holds the log's lock. Before the first seal the key is pinned in the log's folder.

    Raises:
        AuditKeyMalformed: the folder's policy file is not this log's.
        SequencerHalted: as `signer.receipts.opening.open_log`; CheckpointFileMissing also
            where the log was sealed and the folder pins no key any more.
    """
    if files.read_policy() is None:
        if records.log_state(log_id).signed is not None:
            raise CheckpointFileMissing("the folder of the audit log lost its policy file")
        key = VerifierKey.of(origin, backend.public_key(Purpose.AUDIT))
        files.write_policy(serialise_policy([key]), slot=slot_of(at))
    growing = open_log(
        audit_log(log_id, pinned_keys(origin, files)),
        records=records,
        files=files,
        backend=backend,
        purposes=[Purpose.AUDIT],
        at=at,
        observer=observer,
    )
    return Sealer(growing, records)


class Sealer:
    """Seals one audit log. Made by `open_sealer`, which compares the records first."""

    def __init__(self, growing: GrowingLog, records: AuditRecords) -> None:
        self._growing = growing
        self._records = records
        self._log_id = growing.log.log_id

    def run_once(self, *, at: datetime) -> Sequenced | None:
        """Seal what waits.

        Returns:
            None where there was nothing to do.

        Raises:
            SequencerHalted: a subclass; nothing more may be sealed here.
            SignerError: the key could not sign; the same batch is tried again next time.
        """
        slot = slot_of(at)
        state = self._records.log_state(self._log_id)
        self._growing.require_ours(state)
        if state.signed is not None and not state.signed.released:
            self._growing.write_checkpoint(state.signed, slot=slot)
            self._release(state.signed.size)
        old_size, new_size = state.signed_size, state.entries
        if new_size == old_size:
            new_size += self._records.assign(limit=SEAL_LIMIT)
            if new_size == old_size:
                return None
            self._growing.reached(Step.ASSIGNED)
        signed = self._growing.grow(new_size, slot=slot)
        self._growing.write_checkpoint(signed, slot=slot)
        self._release(signed.size)
        return Sequenced(new_size, new_size - old_size)

    def _release(self, size: int) -> None:
        self._records.release(self._log_id, size)
        self._growing.reached(Step.RELEASED)
