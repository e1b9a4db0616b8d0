"""Giving an audit log up for a new generation, and what must hold of one that was given up.

A log whose database is older than its folder, or whose folder is lost, may never be sealed again:
one of its sizes could get a second root. A new generation has a name of its own, and begins with
an entry that says what is known of the one before.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from signer.audit.entry import BegunAnew, decode_entry
from signer.audit.errors import AuditEntryMalformed, AuditKeyUnknown, AuditLogUsable
from signer.audit.records import (
    StoredGeneration,
)
from signer.audit.sealing import (
    FIRST_GENERATION,
    AuditFiles,
    AuditRecords,
    audit_log,
    pinned_keys,
)
from signer.audit.verification import (
    Finding,
)
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.confirmation import verify_evidence
from signer.receipts.errors import (
    CheckpointFileMissing,
    DatabaseBehind,
    EvidenceInvalid,
    SequencerHalted,
    TilesDamaged,
)
from signer.receipts.growth import LogIdentity, tree_of
from signer.receipts.inspection import check_checkpoints, inspect_log
from signer.receipts.policy import LogKeys


@dataclass(frozen=True, slots=True)
class AuditGenerationLog:
    """One generation: where everything of it is.

    Attributes:
        number: 1 for the first.
        origin: its name.
        log_id: names it in the database.
        log: its entries and checkpoints.
        files: its folder.
        given_up: what the one that followed it says of it; None of the active one, and of one
            that the database followed by another than it once had.
    """

    number: int
    origin: str
    log_id: str
    log: AuditRecords
    files: AuditFiles
    given_up: StoredGeneration | None = None


@dataclass(frozen=True, slots=True)
class Impasse:
    """A generation that cannot go on.

    Attributes:
        origin: its name.
        known: the newest checkpoint that its folder holds, None where it holds none.
        database_size: how far it is sealed in the database.
        keys: that its folder pins; None where it lost them.
        why: what is wrong with it.
    """

    origin: str
    known: Checkpoint | None
    database_size: int
    keys: LogKeys | None
    why: SequencerHalted


def require_impasse(generation: AuditGenerationLog) -> Impasse:
    """Find the active generation to be behind its folder, or its folder to be lost.

    Raises:
        AuditLogUsable: it is not, or something else is wrong with it, too.
        AuditKeyMalformed: the folder pins no P-256 keys of this log.
    """
    signed = generation.log.log_state(generation.log_id).signed
    size = 0 if signed is None else signed.size
    file = generation.files.read_checkpoint()
    try:
        keys = pinned_keys(generation.origin, generation.files)
    except AuditKeyUnknown:
        return _without_policy(generation.origin, size, file)
    log = audit_log(generation.log_id, keys)
    found = inspect_log(log, store=generation.log, files=generation.files)
    if not found:
        raise AuditLogUsable(f"{generation.origin} agrees with its folder; it goes on as it is")
    if not isinstance(found[0], DatabaseBehind | CheckpointFileMissing):
        raise AuditLogUsable(
            f"{generation.origin} is neither behind its folder, nor is its folder lost: "
            f"{type(found[0]).__name__}: {found[0]}"
        )
    known = None if file is None else _verified(file, keys)
    return Impasse(generation.origin, known, size, keys, found[0])


def unknown_impasse(origin: str, files: AuditFiles) -> Impasse:
    """A generation whose folder is there, and which the database does not know at all.

    Raises:
        AuditLogUsable: its folder's checkpoint cannot be verified.
        AuditKeyMalformed: the folder pins no P-256 keys of this log.
    """
    file = files.read_checkpoint()
    why = DatabaseBehind("the database does not know this generation")
    try:
        keys = pinned_keys(origin, files)
    except AuditKeyUnknown:
        return Impasse(origin, None, 0, None, _require_no(file, origin, why))
    return Impasse(origin, None if file is None else _verified(file, keys), 0, keys, why)


def first_entry(generation: AuditGenerationLog) -> BegunAnew | None:
    """What a generation after the first begins with; None where it is something else."""
    entries = generation.log.entries(generation.log_id, 0, 1)
    try:
        entry = decode_entry(entries[0]) if entries else None
    except AuditEntryMalformed:
        return None
    return entry if isinstance(entry, BegunAnew) else None


def check_beginning(generation: AuditGenerationLog) -> Iterator[Finding]:
    """Find a generation after the first to begin with the entry of its own beginning."""
    if generation.number == FIRST_GENERATION:
        return
    entry = first_entry(generation)
    if entry is None or entry.generation != generation.number:
        what = f"{generation.origin} does not begin with the entry of its beginning"
        yield Finding("beginning-missing", what)


def check_given_up(generation: AuditGenerationLog, keys: LogKeys) -> Iterator[Finding]:
    """Compare a generation that was given up, as far as it goes.

    1. Every checkpoint that the database committed is signed, and the entries have its root.
    2. It is sealed in the database as far as the entry says that gave it up.
    3. Its folder holds the checkpoint that this entry names, signed, or none if it names none.
    4. The folder's tiles are what the database's entries give.

    Args:
        generation: which one.
        keys: that are pinned for it.
    """
    log = audit_log(generation.log_id, keys)
    signed = generation.log.log_state(generation.log_id).signed
    size = 0 if signed is None else signed.size
    # (1)
    try:
        check_checkpoints(log, generation.log, signed)
    except SequencerHalted as difference:
        yield Finding(type(difference).__name__, str(difference))
        return
    if generation.given_up is None:
        return
    # (2)
    if size != generation.given_up.database_size:
        what = f"it is sealed up to {size}, not to {generation.given_up.database_size}"
        yield Finding("given-up-log-differs", what)
    # (3) and (4)
    yield from _check_folder(generation, generation.given_up, log, size)


def _check_folder(
    generation: AuditGenerationLog, given_up: StoredGeneration, log: LogIdentity, size: int
) -> Iterator[Finding]:
    file = generation.files.read_checkpoint()
    if file is None:
        if given_up.known_size:
            what = f"its folder lost the checkpoint of size {given_up.known_size}"
            yield Finding(CheckpointFileMissing.__name__, what)
        return
    try:
        found = verify_evidence(file, log.keys)
    except EvidenceInvalid as error:
        yield Finding("given-up-log-differs", f"its folder's checkpoint: {error}")
        return
    if (found.size, found.root) != (given_up.known_size, given_up.known_root):
        what = f"its folder has a checkpoint of size {found.size}, not {given_up.known_size}"
        yield Finding("given-up-log-differs", what)
    address = tree_of(generation.log, generation.files, log.log_id).first_difference(size)
    if address is not None:
        what = f"tile/{address.path()} is missing, or not what the database gives"
        yield Finding(TilesDamaged.__name__, what)


def _without_policy(origin: str, size: int, file: bytes | None) -> Impasse:
    why = _require_no(
        file, origin, CheckpointFileMissing("the folder of the audit log lost its policy file")
    )
    if size == 0:
        raise AuditLogUsable(f"nothing was sealed yet in {origin}; it goes on as it is")
    return Impasse(origin, None, size, None, why)


def _require_no(file: bytes | None, origin: str, why: SequencerHalted) -> SequencerHalted:
    """What is wrong, where there is no checkpoint file that cannot be verified."""
    if file is not None:
        raise AuditLogUsable(
            f"the folder of {origin} holds a checkpoint, and no file `policy` with the key that "
            "it is to be verified under: put the policy back first"
        )
    return why


def _verified(file: bytes, keys: LogKeys) -> Checkpoint:
    try:
        return verify_evidence(file, keys)
    except EvidenceInvalid as error:
        raise AuditLogUsable(
            f"the checkpoint in the folder of {keys.origin} proves nothing: {error}"
        ) from error
