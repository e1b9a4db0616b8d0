"""What must hold for a log whatever happened to its service, checked over all records."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from signer.payload import Purpose
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.election import Manifest
from signer.receipts.growth import verify_own
from signer.receipts.leaf import BallotLeaf, decode_leaf
from signer.receipts.merkle import leaf_hash, root_of, verify_consistency
from signer.receipts.note import UnverifiedNote
from signer.receipts.policy import LogKeys, Policy
from signer.receipts.receipt import UnverifiedReceipt
from signer.receipts.verify import verify_receipt
from tests.support.faults import Scene, ballot, submission_id

RANGED = {Purpose.LOGIN_CHALLENGE, Purpose.OCSP_CITIZEN_CA, Purpose.CRL_CITIZEN_CA}


@dataclass(frozen=True)
class Signed:
    """One line of the journal: a signature that a token made."""

    purpose: str
    owner: str
    message: bytes


def journal(scene: Scene) -> list[Signed]:
    path = scene.home.directory / "journal.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [
        Signed(entry["purpose"], entry["owner"], base64.b64decode(entry["message"]))
        for entry in map(json.loads, lines)
    ]


def audit_all(scene: Scene, *, lost: int = 0, unspent: int | None = 0) -> None:
    """Audit every log of the scene, and the permits of them all.

    Args:
        scene: its service runs.
        lost: how many permits were spent whose signature was never made.
        unspent: how many were recorded and never spent; None where nobody can know.
    """
    for election_id in scene.manifests:
        audit_log(scene, election_id)
    audit_permits(scene, lost=lost, unspent=unspent)


def audit_log(scene: Scene, election_id: str) -> None:
    manifest = scene.manifests[election_id]
    facts = scene.order("facts", election_id=election_id)
    entries = [base64.b64decode(entry) for entry in facts["entries"]]
    durable = {note.encode(): released for note, released in facts["checkpoints"]}
    public = scene.request("GET", f"/log/{election_id}/checkpoint")
    shown = [public.body] if public.status == 200 else []
    written = [facts["file"].encode()] if facts["file"] is not None else []
    # Only what the database committed is ever shown or written, and it stays.
    assert set(shown + written) <= durable.keys()
    seen = scene.notes_seen.setdefault(election_id, set())
    assert seen <= durable.keys()
    seen.update(durable)
    checkpoints = [_verified(note, manifest) for note in durable]
    checkpoints += [
        Checkpoint.parse(signed.message) for signed in journal(scene) if signed.owner == election_id
    ]
    audit_tree(checkpoints, entries)
    audit_receipts(scene, election_id, entries, durable, facts["placed"])


def audit_tree(checkpoints: Sequence[Checkpoint], entries: Sequence[bytes]) -> None:
    """One root for each size that was ever signed, and each tree an extension of the last."""
    roots: dict[int, bytes] = {}
    for checkpoint in checkpoints:
        assert roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root
    leaves = [leaf_hash(entry) for entry in entries]
    sizes = sorted(roots)
    for size in sizes:
        assert size <= len(entries)
        assert root_of(leaves[:size]) == roots[size]
    for smaller, larger in pairwise(sizes):
        path = _subproof(smaller, leaves[:larger], whole=True)
        verify_consistency(smaller, larger, path, roots[smaller], roots[larger])


def audit_receipts(
    scene: Scene,
    election_id: str,
    entries: Sequence[bytes],
    durable: dict[bytes, bool],
    placed: dict[str, int | None],
) -> None:
    """Every accepted ballot is there, once; every receipt verifies and has a durable checkpoint."""
    numbers = scene.registered[election_id]
    assert placed.keys() == {submission_id(number) for number in numbers}
    places = [place for place in placed.values() if place is not None]
    ballots = [at for at, entry in enumerate(entries) if isinstance(decode_leaf(entry), BallotLeaf)]
    assert sorted(places) == ballots
    policy = Policy.parse(scene.manifests[election_id].policy())
    for number in numbers:
        receipt = scene.fetch(election_id, number)
        if receipt is None:
            continue
        verified = verify_receipt(receipt, ballot(number), policy)
        assert verified.index == placed[submission_id(number)]
        assert durable[UnverifiedReceipt.parse(receipt).proof.checkpoint]


def audit_permits(scene: Scene, *, lost: int, unspent: int | None) -> None:
    """Each signature had a permit of its own, spent before it; none was signed under twice."""
    facts = scene.order("facts", election_id=next(iter(scene.manifests)))
    spent = Counter(
        (owner, purpose, digest) for owner, purpose, digest, used in facts["permits"] if used
    )
    signed = Counter(
        (entry.owner, entry.purpose, hashlib.sha256(entry.message).hexdigest())
        for entry in journal(scene)
    )
    ranged = Counter[tuple[str, str]]()
    for owner, purpose, digest in [key for key in signed if key[1] in RANGED]:
        ranged[owner, purpose] += signed.pop((owner, purpose, digest))
    for owner, purpose, count, used in facts["ranges"]:
        ranged[owner, purpose] -= count if used is None else used
    assert not +ranged  # no more signatures than the ranges allow
    assert signed <= spent
    assert spent.total() - signed.total() == lost
    assert unspent in (None, len(facts["permits"]) - spent.total())
    # The token itself saw no signature that the journal lacks.
    assert scene.sign_calls() == len(journal(scene))
    assert {purpose for _, purpose, _ in signed} <= {
        Purpose.RECEIPT_LOG,
        Purpose.RECEIPT_LOG_ED25519,
        Purpose.AUDIT,
    }


def _verified(note: bytes, manifest: Manifest) -> Checkpoint:
    checkpoint = Checkpoint.parse(UnverifiedNote.parse(note).text)
    verify_own(note, checkpoint, LogKeys(manifest.origin, manifest.log_keys))
    return checkpoint


def _subproof(size: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """RFC 9162, section 2.1.4.1: SUBPROOF(m, D_n, b)."""
    count = len(leaves)
    if size == count:
        return [] if whole else [root_of(leaves)]
    split = 1 << (count - 1).bit_length() - 1
    if size <= split:
        return [*_subproof(size, leaves[:split], whole=whole), root_of(leaves[split:])]
    return [*_subproof(size - split, leaves[split:], whole=False), root_of(leaves[:split])]
