"""`receipt-verify-cold`: one ECDSA signature per receipt and nothing cached, on one core."""

import hashlib
import itertools
from collections.abc import Sequence

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bench.rows import Row, seconds_each
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.leaf import BallotLeaf, commit
from signer.receipts.merkle import frontier_at, inclusion_path, leaf_hash, node_hash
from signer.receipts.note import VerifierKey, assemble_note
from signer.receipts.policy import Policy, serialise_policy
from signer.receipts.receipt import serialise_receipt
from signer.receipts.verify import verify_receipt

NAME = "receipt-verify-cold"
TARGET = 3_000
TREE_SIZE = 187_000
RECEIPTS = 500

ORIGIN = "receipts.example.mn/bench"
SALT = bytes(range(32))
BALLOT = bytes(4096)


def rows() -> list[Row]:
    """Measure, beside the bare signature verifications on the same core in the same run."""
    key = ec.generate_private_key(ec.SECP256R1())
    verifier = VerifierKey.of(ORIGIN, key.public_key())
    policy = Policy.parse(serialise_policy([verifier]))
    text, receipts, signatures = _receipts(key, verifier)
    next_receipt, next_signature = itertools.cycle(receipts), itertools.cycle(signatures)
    public_key, algorithm = key.public_key(), ec.ECDSA(hashes.SHA256())
    cold, raw = seconds_each(
        lambda: verify_receipt(next(next_receipt), BALLOT, policy),
        lambda: public_key.verify(next(next_signature), text, algorithm),
    )
    return [
        Row(
            name=NAME,
            value=round(1 / cold),
            unit="receipts/s per core",
            reference=round(1 / raw),
            ratio=round(raw / cold, 2),
            target=f">= {TARGET}/s; the reference is the bare ECDSA P-256 verification",
            ok=1 / cold >= TARGET,
        )
    ]


def _receipts(
    key: ec.EllipticCurvePrivateKey, verifier: VerifierKey
) -> tuple[bytes, list[bytes], list[bytes]]:
    commitment = commit(SALT, hashlib.sha256(BALLOT).digest())
    step = TREE_SIZE // RECEIPTS
    leaves = [leaf_hash(seq.to_bytes(4, "big")) for seq in range(TREE_SIZE)]
    entries = {
        seq: BallotLeaf("bench", bytes(32), seq, commitment, 2_985_000).encode()
        for seq in range(1, 1 + step * RECEIPTS, step)
    }
    for seq, entry in entries.items():
        leaves[seq] = leaf_hash(entry)
    layers = _layers(leaves)

    def node(level: int, index: int) -> bytes:
        return layers[level][index]

    root = frontier_at(TREE_SIZE, node).root
    text = Checkpoint(ORIGIN, TREE_SIZE, root).text()
    receipts, signatures = [], []
    for seq, entry in entries.items():
        signature = key.sign(text, ec.ECDSA(hashes.SHA256()))
        signatures.append(signature)
        receipts.append(
            serialise_receipt(
                entry=entry,
                salt=SALT,
                index=seq,
                path=inclusion_path(seq, TREE_SIZE, node),
                checkpoint=assemble_note(text, [(verifier, signature)]),
            )
        )
    return text, receipts, signatures


def _layers(leaves: Sequence[bytes]) -> list[list[bytes]]:
    layers = [list(leaves)]
    while len(layers[-1]) > 1:
        below = layers[-1]
        layers.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return layers
