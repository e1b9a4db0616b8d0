"""What others hold of a log, compared with a database that was put back.

A checkpoint that a pinned key of the log signed is a fact, whoever shows it. One that is larger
than the database, or of another tree, proves that the database lacks what was signed: growing the
log from there would fork it.
"""

from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import (
    DatabaseBehind,
    EvidenceInvalid,
    FormatRefused,
    LogForked,
    NoteSignatureInvalid,
    NoteUnsigned,
)
from signer.receipts.log_store import LogStore
from signer.receipts.merkle import Frontier, leaf_hash
from signer.receipts.note import UnverifiedNote, open_note
from signer.receipts.policy import LogKeys
from signer.receipts.receipt import HEADER, MAX_RECEIPT_BYTES, TlogProof

MAX_EVIDENCE_BYTES = MAX_RECEIPT_BYTES
_STEP = 65_536  # entries in memory at once


def is_receipt(unverified_evidence: bytes) -> bool:
    """Whether it is a receipt, whose checkpoint need not be public; else a checkpoint file."""
    return unverified_evidence.startswith(HEADER.encode())


def verify_evidence(unverified_evidence: bytes, keys: LogKeys) -> Checkpoint:
    """The checkpoint of a checkpoint file or of a receipt.

    The signature of one pinned key is enough: also what one key alone signed cannot be unsaid.

    Args:
        unverified_evidence: a signed note, or a tlog-proof that carries one.
        keys: of the log, as its manifest pins them.

    Raises:
        EvidenceInvalid: it is neither, of another log, or not signed by a pinned key.
    """
    note = unverified_evidence
    try:
        if is_receipt(note):
            note = TlogProof.parse(note).checkpoint
        verified = open_note(UnverifiedNote.parse(note), keys.keys)
        checkpoint = Checkpoint.parse(verified.text)
    except FormatRefused as error:
        raise EvidenceInvalid("it is neither a checkpoint nor a receipt") from error
    except (NoteSignatureInvalid, NoteUnsigned) as error:
        raise EvidenceInvalid(f"no pinned key of {keys.origin} vouches for it") from error
    if checkpoint.origin != keys.origin:
        raise EvidenceInvalid(f"it is a checkpoint of {checkpoint.origin}")
    return checkpoint


def require_known(checkpoint: Checkpoint, *, store: LogStore, log_id: str) -> None:
    """Find a checkpoint that somebody shows to be of the tree that the database signed.

    Raises:
        DatabaseBehind: it is larger than what the database signed.
        LogForked: the database's entries have another root at its size.
    """
    signed_size = store.log_state(log_id).signed_size
    if checkpoint.size > signed_size:
        raise DatabaseBehind(
            f"a checkpoint of size {checkpoint.size} was signed, and the database ends at "
            f"{signed_size}: {checkpoint.size - signed_size} entries are lost"
        )
    frontier = Frontier.empty()
    for start in range(0, checkpoint.size, _STEP):
        entries = store.entries(log_id, start, min(checkpoint.size, start + _STEP))
        frontier = frontier.extended(leaf_hash(entry) for entry in entries)
    if (frontier.size, frontier.root) != (checkpoint.size, checkpoint.root):
        raise LogForked(
            f"at size {checkpoint.size} another tree was signed than the database holds"
        )
