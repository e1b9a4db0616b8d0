"""Offline verification: every way to be wrong first, then the one way to be right."""

import base64
import hashlib
import pickle
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from signer.payload import Purpose
from signer.receipts.errors import (
    BallotMismatch,
    ElectionMismatch,
    EntryNotInLog,
    FormatRefused,
    IndexMismatch,
    LeafNotBallot,
    LogNotTrusted,
    LogSignatureInvalid,
    LogSignatureMissing,
    ReceiptRefused,
    WitnessesNotChecked,
)
from signer.receipts.leaf import CloseLeaf
from signer.receipts.note import VerifierKey
from signer.receipts.policy import Policy
from signer.receipts.receipt import UnverifiedReceipt
from signer.receipts.verify import VerifiedReceipt, verify_receipt
from tests.support.receipts import (
    BALLOT,
    PURPOSES,
    TrialElection,
    receipt_parts,
)

ELECTION = TrialElection()
MANIFEST = ELECTION.manifest()
POLICY_BYTES = MANIFEST.policy()
POLICY = Policy.parse(POLICY_BYTES)
RECEIPT = receipt_parts(ELECTION).make()


def test_another_ballot() -> None:
    with pytest.raises(BallotMismatch):
        verify_receipt(RECEIPT, BALLOT + b"x", POLICY)


def test_another_salt() -> None:
    parts = replace(receipt_parts(ELECTION), salt=bytes(32))
    with pytest.raises(BallotMismatch):
        verify_receipt(parts.make(), BALLOT, POLICY)


def test_the_index_line_differs_from_the_entry() -> None:
    parts = replace(receipt_parts(ELECTION), index=4)
    with pytest.raises(IndexMismatch, match="entry says 3"):
        verify_receipt(parts.make(), BALLOT, POLICY)


def test_an_entry_of_another_election() -> None:
    parts = receipt_parts(ELECTION)
    parts.leaf = replace(parts.leaf, election_id="another")
    with pytest.raises(ElectionMismatch):
        verify_receipt(parts.make(), BALLOT, POLICY)


def test_an_entry_that_is_not_a_ballots() -> None:
    parts = receipt_parts(ELECTION)
    close = CloseLeaf(ELECTION.election_id, MANIFEST.sha256, 3, bytes(32), 0, 2)
    with pytest.raises(LeafNotBallot):
        verify_receipt(replace(parts, entry=close.encode()).make(), BALLOT, POLICY)


def test_an_entry_that_is_not_in_the_tree() -> None:
    here = UnverifiedReceipt.parse(RECEIPT)
    longer = receipt_parts(ELECTION, size=9).make()
    proof = replace(here.proof, checkpoint=UnverifiedReceipt.parse(longer).proof.checkpoint)
    with pytest.raises(EntryNotInLog):
        verify_receipt(proof.serialise(), BALLOT, POLICY)


@pytest.mark.parametrize("missing", [0, 1])
def test_one_key_of_the_two_pinned_types_is_not_enough(missing: int) -> None:
    parts = receipt_parts(ELECTION)
    del parts.keys[missing]
    with pytest.raises(LogSignatureMissing):
        verify_receipt(parts.make(), BALLOT, POLICY)


def test_keys_of_strangers_are_not_enough() -> None:
    parts = receipt_parts(ELECTION)
    parts.keys = [TrialElection().signer.keys[purpose] for purpose in PURPOSES]
    with pytest.raises(LogSignatureMissing, match="no key of the log"):
        verify_receipt(parts.make(), BALLOT, POLICY)


def test_a_wrong_signature_by_a_pinned_key() -> None:
    good, other = receipt_parts(ELECTION).make(), receipt_parts(ELECTION, size=9).make()
    lines, others = good.split(b"\n"), other.split(b"\n")
    lines[-3] = others[-3]
    with pytest.raises(LogSignatureInvalid):
        verify_receipt(b"\n".join(lines), BALLOT, POLICY)


def test_the_standby_keys_may_sign_in_the_place_of_the_current_ones() -> None:
    parts = receipt_parts(ELECTION)
    parts.keys[0] = ELECTION.standby.keys[Purpose.RECEIPT_LOG]
    assert verify_receipt(parts.make(), BALLOT, POLICY).keys[0] == MANIFEST.standby_keys[0]


def test_a_policy_of_another_log() -> None:
    policy = Policy.parse(TrialElection(election_id="another").manifest().policy())
    with pytest.raises(LogNotTrusted, match="does not name"):
        verify_receipt(RECEIPT, BALLOT, policy)


def test_a_policy_of_two_logs() -> None:
    other = TrialElection(election_id="another").manifest().current_keys[0]
    policy = Policy.parse(f"log {other}\n".encode() + POLICY_BYTES)
    with pytest.raises(LogNotTrusted, match="another log as well"):
        verify_receipt(RECEIPT, BALLOT, policy)


def test_a_policy_without_an_ecdsa_key() -> None:
    key = next(key for key in MANIFEST.log_keys if key.algorithm == 1)
    policy = Policy.parse(f"log {key}\nquorum none\n".encode())
    with pytest.raises(LogNotTrusted, match="ECDSA"):
        verify_receipt(RECEIPT, BALLOT, policy)


def test_a_policy_with_a_quorum_is_not_half_obeyed() -> None:
    key = b"\x04" + bytes(32)
    key_id = hashlib.sha256(b"w\n" + key).hexdigest()[:8]
    witness = f"w+{key_id}+{base64.b64encode(key).decode()}"
    text = POLICY_BYTES.replace(b"quorum none\n", b"")
    policy = Policy.parse(text + f"witness W {witness}\nquorum W\n".encode())
    with pytest.raises(WitnessesNotChecked, match="W"):
        verify_receipt(RECEIPT, BALLOT, policy)


def test_a_verified_receipt_is_made_by_verification_alone() -> None:
    verified = verify_receipt(RECEIPT, BALLOT, POLICY)
    with pytest.raises(TypeError):
        replace(verified, index=5)
    with pytest.raises(TypeError):
        pickle.dumps(verified)
    with pytest.raises(TypeError):
        VerifiedReceipt("", "", b"", 0, 0, b"", b"", 0, (), b"")


def test_a_good_receipt_tells_what_it_proves() -> None:
    verified = verify_receipt(RECEIPT, BALLOT, POLICY)
    assert (verified.origin, verified.election_id) == (MANIFEST.origin, ELECTION.election_id)
    assert (verified.index, verified.size) == (3, 7)
    assert verified.manifest_sha256 == MANIFEST.sha256
    assert verified.keys == MANIFEST.current_keys
    assert verified.policy_sha256 == POLICY.sha256


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(0, len(RECEIPT) * 8 - 1))
def test_any_flipped_bit_of_the_receipt_is_refused(bit: int) -> None:
    with pytest.raises((FormatRefused, ReceiptRefused)):
        verify_receipt(flipped(RECEIPT, bit), BALLOT, POLICY)


@given(st.integers(0, len(BALLOT) * 8 - 1))
def test_any_flipped_bit_of_the_ballot_is_refused(bit: int) -> None:
    with pytest.raises(BallotMismatch):
        verify_receipt(RECEIPT, flipped(BALLOT, bit), POLICY)


def test_every_flipped_bit_of_the_policy_is_refused() -> None:
    for bit in range(len(POLICY_BYTES) * 8):
        with pytest.raises((FormatRefused, ReceiptRefused)):
            verify_receipt(RECEIPT, BALLOT, Policy.parse(flipped(POLICY_BYTES, bit)))


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(FormatRefused):
        verify_receipt(data, BALLOT, POLICY)


def test_keys_compare_by_what_they_are() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert VerifierKey.of("a", key) == VerifierKey.parse(str(VerifierKey.of("a", key)))
