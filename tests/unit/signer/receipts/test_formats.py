"""CBOR, leaves, notes, checkpoints: one encoding each, and every other one refused."""

import base64
import json
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from signer.receipts.cbor import MAX_ARRAY_BYTES, decode_array, encode_array
from signer.receipts.checkpoint import Checkpoint
from signer.receipts.errors import (
    CborNotDeterministic,
    CheckpointMalformed,
    FormatRefused,
    KeyMalformed,
    LeafMalformed,
    NoteMalformed,
    NoteSignatureInvalid,
    NoteUnsigned,
)
from signer.receipts.leaf import BallotLeaf, CloseLeaf, GenesisLeaf, commit, decode_leaf
from signer.receipts.note import (
    MAX_NOTE_BYTES,
    UnverifiedNote,
    VerifiedNote,
    VerifierKey,
    assemble_note,
    open_note,
)
from tests.support.receipts import VECTORS, needs_vectors, sign_note

D1, D2 = bytes([1]) * 32, bytes([2]) * 32
GENESIS = GenesisLeaf("trial", D1)
BALLOT = BallotLeaf("trial", D1, 70_000, D2, 2_985_000)
CLOSE = CloseLeaf("trial", D1, 70_001, D2, 5, 70_000)

items = st.one_of(st.integers(0, 2**64 - 1), st.binary(max_size=300), st.text(max_size=100))


@given(st.lists(items, max_size=30))
def test_cbor_is_what_the_library_writes_and_reads_back(values: list[Any]) -> None:
    encoded = encode_array(values)
    assert encoded == cbor2.dumps(values)
    assert list(decode_array(encoded)) == values


@given(st.binary(max_size=60))
def test_random_bytes_are_refused_or_are_the_one_encoding(data: bytes) -> None:
    try:
        values = decode_array(data)
    except CborNotDeterministic:
        return
    assert encode_array(values) == data


@pytest.mark.parametrize(
    "data",
    [
        "",
        "80ff",  # bytes follow
        "9f01ff",  # indefinite array
        "8118",  # ends in a head
        "811801",  # 1 in two bytes
        "811900ff",  # 255 in three bytes
        "811a0000ffff",
        "811b00000000ffffffff",
        "8120",  # negative
        "81f5",  # true
        "81f93c00",  # float
        "81c100",  # tag
        "81a0",  # map
        "8180",  # nested array
        "8141",  # byte string without its byte
        "8161ff",  # not UTF-8
        "82" + "00",  # fewer items than said
        "811c",  # reserved
        "00",  # not an array
        "815f4100ff",  # indefinite bytes
    ],
)
def test_other_encodings_are_refused(data: str) -> None:
    with pytest.raises(CborNotDeterministic):
        decode_array(bytes.fromhex(data))


def test_too_long_an_array_is_refused() -> None:
    with pytest.raises(CborNotDeterministic):
        decode_array(bytes(MAX_ARRAY_BYTES + 1))


@pytest.mark.parametrize("value", [-1, 2**64])
def test_only_unsigned_numbers_of_64_bits_are_written(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        encode_array([value])


@pytest.mark.parametrize("leaf", [GENESIS, BALLOT, CLOSE])
def test_leaves_round_trip(leaf: GenesisLeaf | BallotLeaf | CloseLeaf) -> None:
    assert decode_leaf(leaf.encode()) == leaf


def test_leaf_bytes_are_as_specified() -> None:
    assert BALLOT.encode() == cbor2.dumps(
        ["mn.ballot-receipt/1", "trial", D1, 70_000, D2, 2_985_000]
    )
    assert GENESIS.encode() == cbor2.dumps(["mn.genesis/1", "trial", D1])
    assert CLOSE.encode() == cbor2.dumps(["mn.close/1", "trial", D1, 70_001, D2, 5, 70_000])


@pytest.mark.parametrize(
    "values",
    [
        [],
        [1],
        ["mn.other/1", "trial", D1],
        ["mn.genesis/1", "trial"],
        ["mn.genesis/1", "trial", "text"],
        ["mn.genesis/1", "Trial", D1],
        ["mn.genesis/1", "-trial", D1],
        ["mn.genesis/1", "", D1],
        ["mn.genesis/1", "trial", D1[1:]],
        ["mn.ballot-receipt/1", "trial", D1, 0, D2, 5],
        ["mn.ballot-receipt/1", "trial", D1, 1, D2[1:], 5],
        ["mn.ballot-receipt/1", "trial", D1, 2**63, D2, 5],
        ["mn.ballot-receipt/1", "trial", D1, 1, D2, 5, 6],
        ["mn.close/1", "trial", D1, 5, D2, 0, 5],
        ["mn.close/1", "trial", D1, 5, D2, 0],
    ],
)
def test_malformed_leaves_are_refused(values: list[Any]) -> None:
    with pytest.raises(LeafMalformed):
        decode_leaf(encode_array(values))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_leaf_or_its_one_encoding(data: bytes) -> None:
    try:
        leaf = decode_leaf(data)
    except LeafMalformed:
        return
    assert leaf.encode() == data


@given(st.integers(0, len(BALLOT.encode()) * 8 - 1))
def test_a_flipped_bit_of_a_leaf_is_refused_or_another_leaf(bit: int) -> None:
    data = bytearray(BALLOT.encode())
    data[bit // 8] ^= 1 << bit % 8
    try:
        leaf = decode_leaf(bytes(data))
    except LeafMalformed:
        return
    assert leaf != BALLOT


@pytest.mark.parametrize(("salt", "digest"), [(b"", D1), (D1, b"")])
def test_commitments_are_to_whole_hashes(salt: bytes, digest: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        commit(salt, digest)


# Notes.


def published_notes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / "notes" / "signed_notes.json").read_text())
    return found


@needs_vectors
def test_published_notes() -> None:
    notes = published_notes()
    assert sum(note["valid"] for note in notes) == 4
    for case in notes:
        key = VerifierKey.parse(case["vkey"])
        assert key.algorithm == case["alg"]
        assert str(key) == case["vkey"]
        note = UnverifiedNote.parse(case["note"].encode())
        assert note.serialise() == case["note"].encode()
        if case["valid"]:
            assert open_note(note, [key]).keys == (key,)
        else:
            with pytest.raises((NoteSignatureInvalid, NoteUnsigned)):
                open_note(note, [key])


@needs_vectors
def test_the_published_signing_key_signs_the_same_bytes() -> None:
    case = next(case for case in published_notes() if "skey" in case)
    secret = base64.b64decode(case["skey"].split("+", 4)[4])
    key = ed25519.Ed25519PrivateKey.from_private_bytes(secret[1:])
    text = UnverifiedNote.parse(case["note"].encode()).text
    name = case["vkey"].split("+")[0]
    assert sign_note(text, name, [key]) == case["note"].encode()


P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
NOTE = sign_note(b"origin\n5\n", "log.example/e", [P256, ED])
KEYS = [VerifierKey.of("log.example/e", key.public_key()) for key in (P256, ED)]


def test_a_key_of_the_same_id_but_another_name_is_unknown() -> None:
    other = VerifierKey.of("log.example/f", P256.public_key())
    with pytest.raises(NoteUnsigned):
        open_note(UnverifiedNote.parse(NOTE), [other])


def test_one_wrong_known_signature_spoils_the_note() -> None:
    note = assemble_note(b"origin\n5\n", [(KEYS[1], ED.sign(b"another text"))])
    both = NOTE + note.partition(b"\n\n")[2]
    with pytest.raises(NoteSignatureInvalid, match="ED25519"):
        open_note(UnverifiedNote.parse(both), KEYS)


def test_unknown_signatures_are_ignored() -> None:
    stranger = ed25519.Ed25519PrivateKey.generate()
    extra = sign_note(b"origin\n5\n", "witness", [stranger]).partition(b"\n\n")[2]
    opened = open_note(UnverifiedNote.parse(NOTE + extra * 14), KEYS)
    assert opened.keys == tuple(KEYS)


def test_a_verified_note_is_made_by_open_note_alone() -> None:
    with pytest.raises(TypeError):
        VerifiedNote(b"", ())
    with pytest.raises(TypeError):
        open_note(UnverifiedNote.parse(NOTE), KEYS).__reduce__()


LINE = "\u2014 n AAAAAAE=\n"


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nline\n",
        b"text" + LINE.encode(),
        b"te\x01xt\n\n" + LINE.encode(),
        b"te\rxt\n\n" + LINE.encode(),
        b"\xff\n\n" + LINE.encode(),
        b"text\n\n" + LINE.encode()[:-1],
        b"text\n\n" + LINE.replace("\u2014", "-").encode(),
        b"text\n\n" + LINE.replace(" n ", "  n ").encode(),
        b"text\n\n" + LINE.replace("n", "a+b").encode(),
        b"text\n\n" + LINE.replace("AAAAAAE=", "AAAAAA==").encode(),
        b"text\n\n" + LINE.replace("AAAAAAE=", "AAAAAAF=").encode(),
        b"text\n\n" + LINE.replace("AAAAAAE=", "AAAAAAE").encode(),
        b"text\n\n" + LINE.encode() * 65,
        b"t" * MAX_NOTE_BYTES + b"\n\n" + LINE.encode(),
    ],
)
def test_malformed_notes_are_refused(note: bytes) -> None:
    with pytest.raises(NoteMalformed):
        UnverifiedNote.parse(note)


@given(st.binary(max_size=300))
def test_random_bytes_are_no_note(data: bytes) -> None:
    for candidate in (data, b"text\n\n" + data):
        try:
            note = UnverifiedNote.parse(candidate)
        except FormatRefused:
            continue
        assert note.serialise() == candidate


def vkey_of(kind: int, encoded: bytes, key_id: str = "00000000", name: str = "n") -> str:
    return f"{name}+{key_id}+{base64.b64encode(bytes([kind]) + encoded).decode()}"


P384 = ec.generate_private_key(ec.SECP384R1()).public_key()


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "n+00000000",
        "n+0000000+AQ==",
        vkey_of(1, bytes(31)),
        vkey_of(1, bytes(32)),
        vkey_of(2, bytes(32)),
        vkey_of(9, bytes(32)),
        vkey_of(
            2,
            P384.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        ),
        vkey_of(
            2,
            ED.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        ),
        str(KEYS[0]).upper(),
        str(KEYS[0]).replace("log.example", "log example"),
        str(KEYS[1]).replace("log.example", "log.another"),
        str(KEYS[0]) + "=",
    ],
)
def test_malformed_vkeys_are_refused(vkey: str) -> None:
    with pytest.raises(KeyMalformed):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a\u2003b", "a+b", "a\nb", "a\x00b", "a\ud800"])
def test_names_of_keys(name: str) -> None:
    with pytest.raises(KeyMalformed):
        VerifierKey.of(name, ED.public_key())


# Checkpoints.

ROOT = base64.b64encode(D1)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"o\n5\n" + ROOT,
        b"o\n5\n" + ROOT + b"\nextension\n",
        b"o\n05\n" + ROOT + b"\n",
        b"o\n-5\n" + ROOT + b"\n",
        b"o\n+5\n" + ROOT + b"\n",
        b"o\n5 \n" + ROOT + b"\n",
        b"o\n" + b"9" * 19 + b"\n" + ROOT + b"\n",
        b"o\n" + b"9" * 20 + b"\n" + ROOT + b"\n",
        b"o\n5\n" + ROOT[:-4] + b"\n",
        b"o\n5\n" + ROOT[:-1] + b"\n",
        b"\n5\n" + ROOT + b"\n",
        b"a b\n5\n" + ROOT + b"\n",
        b"\xff\n5\n" + ROOT + b"\n",
        "o\n٥\n".encode() + ROOT + b"\n",
    ],
)
def test_malformed_checkpoints_are_refused(text: bytes) -> None:
    with pytest.raises(CheckpointMalformed):
        Checkpoint.parse(text)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_round_trip(size: int, root: bytes) -> None:
    checkpoint = Checkpoint("receipts.example.mn/trial", size, root)
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
