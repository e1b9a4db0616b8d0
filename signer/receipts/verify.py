"""Offline verification of a receipt: receipt, ballot and policy in; a fact or a refusal out.

Needs no network, no clock and no configuration, and imports no web or database code.
"""

import hashlib
from dataclasses import InitVar, dataclass
from typing import Never

from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import (
    BallotMismatch,
    ElectionMismatch,
    EntryNotInLog,
    InclusionInvalid,
    IndexMismatch,
    LeafNotBallot,
    LogSignatureInvalid,
    LogSignatureMissing,
    NoteSignatureInvalid,
    NoteUnsigned,
    WitnessesNotChecked,
)
from signer.receipts.leaf import BallotLeaf, Leaf, commit, decode_leaf
from signer.receipts.merkle import leaf_hash, verify_inclusion
from signer.receipts.note import UnverifiedNote, VerifierKey, open_note
from signer.receipts.policy import LogKeys, Policy
from signer.receipts.receipt import UnverifiedReceipt

_SEAL = object()


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """What a receipt proves: the log's keys vouch that this ballot was accepted.

    It says nothing of the vote or the voter, nor that no later ballot replaced this one.

    Attributes:
        origin: the log.
        election_id: the election.
        manifest_sha256: 32 bytes; fixes the election's rules and keys.
        index: the ballot's position in the log.
        size: number of entries that the checkpoint vouches for.
        root: the log's root at that size, 32 bytes.
        commitment: the entry's commitment to the ballot, 32 bytes.
        accepted_slot: unix time / 600, as the log states it; coarse and advisory.
        keys: the log's keys that signed.
        policy_sha256: fingerprint of the policy; the caller compares it with one
            that was published elsewhere, for the policy may come from the log's operator.
    """

    origin: str
    election_id: str
    manifest_sha256: bytes
    index: int
    size: int
    root: bytes
    commitment: bytes
    accepted_slot: int
    keys: tuple[VerifierKey, ...]
    policy_sha256: bytes
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a VerifiedReceipt is made by verify_receipt() alone")

    def __reduce__(self) -> Never:
        raise TypeError("a VerifiedReceipt cannot be pickled")


def verify_receipt(unverified_receipt: bytes, ballot: bytes, policy: Policy) -> VerifiedReceipt:
    """Verify a receipt.

    1. The receipt is well-formed: tlog-proof, entry, salt, checkpoint.
    2. The policy names the log of the checkpoint's origin and no other, and pins an ECDSA
       key for it.
    3. No pinned key's signature is wrong, and each pinned type of key has signed.
    4. The policy demands no witness (cosignatures are not checked by this version).
    5. The entry is a ballot's, of the election whose log this is.
    6. The entry states the position that the receipt states.
    7. The entry is in the tree of the checkpoint's size and root, at that position.
    8. The entry commits to this ballot, with the receipt's salt.

    What the caller still owes: comparing the policy's fingerprint with a published one.

    Args:
        unverified_receipt: the receipt file's bytes.
        ballot: the sealed ballot's bytes.
        policy: the parsed policy file.

    Raises:
        FormatRefused: a subclass, where the bytes are malformed.
        ReceiptRefused: a subclass, where they do not verify.
    """
    # (1)
    receipt = UnverifiedReceipt.parse(unverified_receipt)
    leaf = decode_leaf(receipt.entry)
    note = UnverifiedNote.parse(receipt.proof.checkpoint)
    checkpoint = Checkpoint.parse(note.text)
    # (2)
    log = policy.log(checkpoint.origin)
    # (3)
    keys = _check_signatures(note, log)
    # (4)
    if policy.quorum is not None:
        raise WitnessesNotChecked(f"the policy demands the quorum {policy.quorum}")
    # (5) to (8)
    ballot_leaf = _check_entry(receipt, leaf, checkpoint, ballot)
    return VerifiedReceipt(
        origin=checkpoint.origin,
        election_id=ballot_leaf.election_id,
        manifest_sha256=ballot_leaf.manifest_sha256,
        index=ballot_leaf.seq,
        size=checkpoint.size,
        root=checkpoint.root,
        commitment=ballot_leaf.commitment,
        accepted_slot=ballot_leaf.accepted_slot,
        keys=keys,
        policy_sha256=policy.sha256,
        seal=_SEAL,
    )


def _check_signatures(note: UnverifiedNote, log: LogKeys) -> tuple[VerifierKey, ...]:
    try:
        verified = open_note(note, log.keys)
    except NoteSignatureInvalid as error:
        raise LogSignatureInvalid("a signature of the log does not verify") from error
    except NoteUnsigned as error:
        raise LogSignatureMissing("no key of the log signed the checkpoint") from error
    log.require(verified.keys)
    return verified.keys


def _check_entry(
    receipt: UnverifiedReceipt, leaf: Leaf, checkpoint: Checkpoint, ballot: bytes
) -> BallotLeaf:
    # (5)
    if not isinstance(leaf, BallotLeaf):
        raise LeafNotBallot("the entry is not a ballot's")
    if checkpoint.origin.rpartition("/")[2] != leaf.election_id:
        raise ElectionMismatch("the entry is of another election than the log")
    # (6)
    if leaf.seq != receipt.proof.index:
        raise IndexMismatch(f"the entry says {leaf.seq}, the receipt {receipt.proof.index}")
    # (7)
    try:
        verify_inclusion(
            leaf.seq,
            checkpoint.size,
            leaf_hash(receipt.entry),
            receipt.proof.path,
            checkpoint.root,
        )
    except InclusionInvalid as error:
        raise EntryNotInLog("the entry is not in the checkpoint's tree") from error
    # (8)
    if commit(receipt.salt, hashlib.sha256(ballot).digest()) != leaf.commitment:
        raise BallotMismatch("the entry commits to another ballot")
    return leaf
