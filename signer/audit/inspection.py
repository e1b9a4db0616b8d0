"""What an auditor asks of a realm: its log against its records, and against what he kept.

No key is needed, nothing is signed and nothing changed; the service may run.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from signer.audit.errors import AuditError, AuditKeyMalformed, AuditKeyUnknown
from signer.audit.generations import AuditGenerationLog, check_beginning, check_given_up
from signer.audit.records import (
    RealmRecords,
    StoredGeneration,
)
from signer.audit.sealing import audit_log, pinned_keys, renamed
from signer.audit.verification import (
    Finding,
    Reconciliation,
    reconcile,
)
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import (
    DatabaseBehind,
    FormatRefused,
    KeyMalformed,
    NoteSignatureInvalid,
    NoteUnsigned,
)
from signer.receipts.growth import tree_of
from signer.receipts.inspection import inspect_log
from signer.receipts.note import UnverifiedNote, VerifierKey, open_note
from signer.receipts.policy import LogKeys


@dataclass(frozen=True, slots=True)
class AuditedRealm:
    """Where everything of a realm is.

    Attributes:
        generations: of its audit log, the oldest first; the last is the active one.
        records: what the log is compared with.
        coarse: whether the realm may store no time finer than the ten-minute slot.
        behind: what shows that the database lacks the last generation; None where nothing does.
    """

    generations: tuple[AuditGenerationLog, ...]
    records: RealmRecords
    coarse: bool
    behind: DatabaseBehind | None = None

    @property
    def active(self) -> AuditGenerationLog:
        """The generation that is sealed."""
        return self.generations[-1]

    @property
    def origin(self) -> str:
        """Of the active generation."""
        return self.active.origin


@dataclass(frozen=True, slots=True)
class AuditBreak:
    """Where one generation ends and another begins.

    Attributes:
        origin: of the one that began.
        stored: what its first entry must say.
    """

    origin: str
    stored: StoredGeneration


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was found in a realm.

    Attributes:
        origin: the audit log's name, of the active generation.
        checkpoint: what was signed last, None before the first seal.
        found: the comparison with the realm's records.
        findings: everything that does not agree; empty where all does.
        breaks: where generations were given up, the oldest first; no findings by themselves.
    """

    origin: str
    checkpoint: Checkpoint | None
    found: Reconciliation
    findings: tuple[Finding, ...]
    breaks: tuple[AuditBreak, ...]


def verify_realm(
    realm: AuditedRealm, *, key: VerifierKey | None = None, kept: bytes | None = None
) -> AuditReport:
    """Verify a realm's audit log.

    1. The signatures are by the pinned key; database, tiles and checkpoints agree. So it is
       with generations that were given up, as far as they go.
    2. The checkpoint that an auditor kept is signed by that key, and what it fixed is the
       beginning of what is there now.
    3. Permits, ranges, certificates and elections agree with the entries of all generations,
       both ways; each generation after the first begins with the entry that says why.

    Args:
        realm: which one.
        key: the key that the auditor pins; by default the one in the log's folder.
        kept: an older checkpoint of one of this log's generations, or none.
    """
    findings: list[Finding] = []
    kept_origin = None if kept is None else _origin_or_active(kept, realm)
    for generation in realm.generations:
        shown = kept if kept_origin == generation.origin else None
        found = _verify_generation(realm, generation, key, shown)
        findings += (_named(finding, generation, realm) for finding in found)
    if realm.behind is not None:
        findings.append(Finding(DatabaseBehind.__name__, str(realm.behind)))
    reconciled = reconcile(realm.records, coarse=realm.coarse)
    active = realm.active
    signed = active.log.log_state(active.log_id).signed
    origins = {generation.number: generation.origin for generation in realm.generations}
    return AuditReport(
        active.origin,
        None if signed is None else Checkpoint(active.origin, signed.size, signed.root),
        reconciled,
        (*findings, *reconciled.findings),
        tuple(
            AuditBreak(origins[stored.number], stored)
            for stored in realm.records.generations()
            if stored.number in origins
        ),
    )


def parse_audit_key(vkey: str, origins: Collection[str]) -> VerifierKey:
    """The key that an auditor pins.

    Raises:
        AuditKeyMalformed: it is not a vkey, or not one of a log of these names.
    """
    try:
        key = VerifierKey.parse(vkey)
    except KeyMalformed as error:
        raise AuditKeyMalformed("the key is not a vkey") from error
    if key.name not in origins:
        raise AuditKeyMalformed(f"the key is not one of {', '.join(origins)}")
    return key


def origin_of(kept: bytes) -> str:
    """The log whose checkpoint this is said to be; raises signer.receipts.errors.FormatRefused."""
    return Checkpoint.parse(UnverifiedNote.parse(kept).text).origin


def _verify_generation(
    realm: AuditedRealm, generation: AuditGenerationLog, key: VerifierKey | None, kept: bytes | None
) -> Iterator[Finding]:
    yield from check_beginning(generation)
    state = generation.log.log_state(generation.log_id)
    files = generation.files
    traces = (state.signed, kept, files.read_policy(), files.read_checkpoint())
    if all(trace is None for trace in traces):
        return
    try:
        keys = _keys(realm, generation, key)
    except AuditError as error:
        yield Finding(type(error).__name__, str(error))
        return
    if generation is realm.active:
        yield from _compared(generation, keys)
    else:
        yield from check_given_up(generation, keys)
    if kept is not None:
        yield from _extends(generation, keys, kept, state.signed_size)


def _keys(realm: AuditedRealm, generation: AuditGenerationLog, key: VerifierKey | None) -> LogKeys:
    """Those of the auditor; else of the folder; else, of an older one, of the active one."""
    if key is not None:
        return renamed(LogKeys(key.name, (key,)), generation.origin)
    try:
        return pinned_keys(generation.origin, generation.files)
    except AuditKeyUnknown:
        if generation is not realm.active:
            return renamed(pinned_keys(realm.origin, realm.active.files), generation.origin)
        raise AuditKeyUnknown("the log was sealed, and its folder pins no key") from None


def _named(finding: Finding, generation: AuditGenerationLog, realm: AuditedRealm) -> Finding:
    """The finding, with the generation's name where it is not the active one."""
    if generation is realm.active:
        return finding
    return Finding(finding.code, f"{generation.origin}: {finding.what}")


def _origin_or_active(kept: bytes, realm: AuditedRealm) -> str:
    """Whose checkpoint it is said to be; what is of none of the generations is refused later."""
    try:
        origin = origin_of(kept)
    except FormatRefused:
        return realm.origin
    known = {generation.origin for generation in realm.generations}
    return origin if origin in known else realm.origin


def _compared(generation: AuditGenerationLog, keys: LogKeys) -> Iterator[Finding]:
    log = audit_log(generation.log_id, keys)
    for difference in inspect_log(log, store=generation.log, files=generation.files):
        yield Finding(type(difference).__name__, str(difference))


def _extends(
    generation: AuditGenerationLog, keys: LogKeys, kept: bytes, signed_size: int
) -> Iterator[Finding]:
    try:
        verified = open_note(UnverifiedNote.parse(kept), keys.keys)
        older = Checkpoint.parse(verified.text)
    except (FormatRefused, NoteSignatureInvalid, NoteUnsigned) as error:
        yield Finding("KeptCheckpointInvalid", f"{type(error).__name__}: {error}")
        return
    if older.origin != generation.origin:
        yield Finding("KeptCheckpointInvalid", f"it is of {older.origin}")
    elif older.size > signed_size:
        what = f"it has {older.size} entries, the log {signed_size}: was a backup restored?"
        yield Finding("KeptCheckpointAhead", what)
    elif _root_at(generation, older.size) != older.root:
        yield Finding("KeptCheckpointForked", f"the first {older.size} entries were others")


def _root_at(generation: AuditGenerationLog, size: int) -> bytes:
    tree = tree_of(generation.log, generation.files, generation.log_id)
    return tree.frontier_of_entries(size).root
