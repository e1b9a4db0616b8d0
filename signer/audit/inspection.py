"""What an auditor asks of a realm: its log against its records, and against what he kept.

No key is needed, nothing is signed and nothing changed; the service may run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from signer.audit.errors import AuditError, AuditKeyMalformed, AuditKeyUnknown
from signer.audit.sealing import AuditFiles, AuditRecords, audit_log, pinned_keys
from signer.audit.verification import Finding, RealmRecords, Reconciliation, reconcile
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import FormatRefused, KeyMalformed, NoteSignatureInvalid, NoteUnsigned
from signer.receipts.growth import LogIdentity, tree_of
from signer.receipts.inspection import inspect_log
from signer.receipts.note import UnverifiedNote, VerifierKey, open_note
from signer.receipts.policy import LogKeys


@dataclass(frozen=True, slots=True)
class AuditedRealm:
    """Where everything of a realm is.

    Attributes:
        log_id: the realm's name.
        origin: its audit log's.
        log: the log in the database.
        files: the log's folder.
        records: what the log is compared with.
        coarse: whether the realm may store no time finer than the ten-minute slot.
    """

    log_id: str
    origin: str
    log: AuditRecords
    files: AuditFiles
    records: RealmRecords
    coarse: bool


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was found in a realm.

    Attributes:
        origin: the audit log's name.
        checkpoint: what was signed last, None before the first seal.
        found: the comparison with the realm's records.
        findings: everything that does not agree; empty where all does.
    """

    origin: str
    checkpoint: Checkpoint | None
    found: Reconciliation
    findings: tuple[Finding, ...]


def verify_realm(
    realm: AuditedRealm, *, key: VerifierKey | None = None, kept: bytes | None = None
) -> AuditReport:
    """Verify a realm's audit log.

    1. The signatures are by the pinned key; database, tiles and checkpoints agree.
    2. The checkpoint that an auditor kept is signed by that key, and what it fixed is the
       beginning of what is there now.
    3. Permits, ranges, certificates and elections agree with the entries, both ways.

    Args:
        realm: which one.
        key: the key that the auditor pins; by default the one in the log's folder.
        kept: an older checkpoint of this log, or none.
    """
    state = realm.log.log_state(realm.log_id)
    findings: list[Finding] = []
    traces = (state.signed, kept, realm.files.read_policy(), realm.files.read_checkpoint())
    if any(trace is not None for trace in traces):
        try:
            keys = _keys(realm, key)
        except AuditError as error:
            findings.append(Finding(type(error).__name__, str(error)))
        else:
            log = audit_log(realm.log_id, keys)
            findings += _compared(realm, log)
            if kept is not None:
                findings += _extends(realm, log, kept, state.signed_size)
    found = reconcile(realm.records, coarse=realm.coarse)
    signed = state.signed
    return AuditReport(
        realm.origin,
        None if signed is None else Checkpoint(realm.origin, signed.size, signed.root),
        found,
        (*findings, *found.findings),
    )


def parse_audit_key(vkey: str, origin: str) -> VerifierKey:
    """The key that an auditor pins.

    Raises:
        AuditKeyMalformed: it is not a vkey, or another log's.
    """
    try:
        key = VerifierKey.parse(vkey)
    except KeyMalformed as error:
        raise AuditKeyMalformed("the key is not a vkey") from error
    if key.name != origin:
        raise AuditKeyMalformed(f"the key is not one of {origin}")
    return key


def origin_of(kept: bytes) -> str:
    """The log whose checkpoint this is said to be; raises signer.receipts.errors.FormatRefused."""
    return Checkpoint.parse(UnverifiedNote.parse(kept).text).origin


def _keys(realm: AuditedRealm, key: VerifierKey | None) -> LogKeys:
    if key is not None:
        return LogKeys(realm.origin, (key,))
    try:
        return pinned_keys(realm.origin, realm.files)
    except AuditKeyUnknown:
        raise AuditKeyUnknown("the log was sealed, and its folder pins no key") from None


def _compared(realm: AuditedRealm, log: LogIdentity) -> Iterator[Finding]:
    for difference in inspect_log(log, store=realm.log, files=realm.files):
        yield Finding(type(difference).__name__, str(difference))


def _extends(
    realm: AuditedRealm, log: LogIdentity, kept: bytes, signed_size: int
) -> Iterator[Finding]:
    try:
        verified = open_note(UnverifiedNote.parse(kept), log.keys.keys)
        older = Checkpoint.parse(verified.text)
    except (FormatRefused, NoteSignatureInvalid, NoteUnsigned) as error:
        yield Finding("KeptCheckpointInvalid", f"{type(error).__name__}: {error}")
        return
    if older.origin != realm.origin:
        yield Finding("KeptCheckpointInvalid", f"it is of {older.origin}")
    elif older.size > signed_size:
        what = f"it has {older.size} entries, the log {signed_size}: was a backup restored?"
        yield Finding("KeptCheckpointAhead", what)
    elif tree_of(realm.log, realm.files, realm.log_id).frontier_of_entries(older.size).root != (
        older.root
    ):
        yield Finding("KeptCheckpointForked", f"the first {older.size} entries were others")
