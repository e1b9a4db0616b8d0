"""An election, its keys, and receipts made in memory, one field of which a test can change."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signer.payload import Purpose
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.election import Manifest, draw_up_manifest
from signer.receipts.leaf import BallotLeaf, commit
from signer.receipts.merkle import inclusion_path, leaf_hash, node_hash, root_of
from signer.receipts.note import NotePublicKey, VerifierKey, assemble_note, note_public_key
from signer.receipts.receipt import serialise_receipt
from tests.support.software_signer import PrivateKey, SoftwareBackend, log_signer

NOW = datetime(2026, 11, 21, 9, 30, 17, tzinfo=UTC)
ELECTION = "mn-2026-trial"
DOMAIN = "receipts.example.mn"
AUDIENCE = "https://tamga.example.mn"
PURPOSES = (Purpose.RECEIPT_LOG, Purpose.RECEIPT_LOG_ED25519)
BALLOT = b"a sealed ballot"
SALT = bytes(range(32))

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
needs_vectors = pytest.mark.skipif(
    not VECTORS.exists(), reason="the published test vectors are not beside this checkout"
)


def public_keys(signer: SoftwareBackend) -> list[NotePublicKey]:
    return [note_public_key(signer.public_key(purpose)) for purpose in PURPOSES]


@dataclass
class TrialElection:
    """An election whose private keys the test holds."""

    signer: SoftwareBackend = field(default_factory=log_signer)
    standby: SoftwareBackend = field(default_factory=log_signer)
    system_key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    election_id: str = ELECTION
    no_vote_proof: bool = True

    def manifest(self) -> Manifest:
        return draw_up_manifest(
            election_id=self.election_id,
            title="Туршилтын сонгууль",
            domain=DOMAIN,
            opens_at=(NOW - timedelta(hours=1)).replace(microsecond=0),
            closes_at=(NOW + timedelta(hours=8)).replace(microsecond=0),
            election_system_key=self.system_key.public_key(),
            current_keys=public_keys(self.signer),
            standby_keys=public_keys(self.standby),
            no_vote_proof=self.no_vote_proof,
        )


def memory_nodes(leaf_hashes: Sequence[bytes], level: int, index: int) -> bytes:
    """The root of a perfect subtree, recomputed from all leaves under it."""
    if level == 0:
        return leaf_hashes[index]
    return node_hash(
        memory_nodes(leaf_hashes, level - 1, 2 * index),
        memory_nodes(leaf_hashes, level - 1, 2 * index + 1),
    )


def sign_note(text: bytes, name: str, keys: Sequence[PrivateKey]) -> bytes:
    from cryptography.hazmat.primitives import hashes

    signatures = []
    for key in keys:
        if isinstance(key, ed25519.Ed25519PrivateKey):
            signature = key.sign(text)
        else:
            signature = key.sign(text, ec.ECDSA(hashes.SHA256()))
        signatures.append((VerifierKey.of(name, key.public_key()), signature))
    return assemble_note(text, signatures)


@dataclass
class ReceiptParts:
    """Everything that goes into a receipt; change a field, then `make()` signs again."""

    keys: list[PrivateKey]
    origin: str
    leaf: BallotLeaf
    salt: bytes = SALT
    size: int = 7
    index: int | None = None
    entry: bytes | None = None

    def make(self) -> bytes:
        entry = self.entry if self.entry is not None else self.leaf.encode()
        leaves = [leaf_hash(b"entry %d" % i) for i in range(self.size)]
        leaves[self.leaf.seq] = leaf_hash(entry)
        path = inclusion_path(
            self.leaf.seq, self.size, lambda level, index: memory_nodes(leaves, level, index)
        )
        text = Checkpoint(self.origin, self.size, root_of(leaves)).text()
        return serialise_receipt(
            entry=entry,
            salt=self.salt,
            index=self.leaf.seq if self.index is None else self.index,
            path=path,
            checkpoint=sign_note(text, self.origin, self.keys),
        )


def receipt_parts(
    election: TrialElection, *, seq: int = 3, size: int = 7, ballot: bytes = BALLOT
) -> ReceiptParts:
    manifest = election.manifest()
    commitment = commit(SALT, hashlib.sha256(ballot).digest())
    leaf = BallotLeaf(election.election_id, manifest.sha256, seq, commitment, 2_985_000)
    keys = [election.signer.keys[purpose] for purpose in PURPOSES]
    return ReceiptParts(keys=keys, origin=manifest.origin, leaf=leaf, size=size)
