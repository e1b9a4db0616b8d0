"""tlog-proof and tlog-policy texts, byte for byte."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from signer.receipts.cbor import Item, encode_array
from signer.receipts.errors import PolicyMalformed, ReceiptMalformed
from signer.receipts.note import VerifierKey
from signer.receipts.policy import MAX_POLICY_BYTES, Group, Policy, serialise_policy
from signer.receipts.receipt import MAX_RECEIPT_BYTES, TlogProof, UnverifiedReceipt
from tests.support.receipts import VECTORS, needs_vectors

HASH = base64.b64encode(bytes(32)).decode()


@needs_vectors
def test_published_proofs() -> None:
    cases = json.loads((VECTORS / "notes" / "tlog_proof_syntax.json").read_text())["cases"]
    assert len(cases) == 12
    for case in cases:
        data = case["text"].encode()
        if not case["valid_syntax"]:
            with pytest.raises(ReceiptMalformed):
                TlogProof.parse(data)
            continue
        proof = TlogProof.parse(data)
        assert proof.index == case["index"]
        assert [base64.b64encode(value).decode() for value in proof.path] == case["hashes"]
        assert proof.checkpoint.decode() == case["checkpoint"]
        extra = None if proof.extra is None else base64.b64encode(proof.extra).decode()
        assert extra == case.get("extra")
        assert proof.serialise() == data


@given(
    st.builds(
        TlogProof,
        index=st.integers(0, 2**63 - 1),
        path=st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
        checkpoint=st.binary(min_size=1, max_size=200),
        extra=st.none() | st.binary(min_size=1, max_size=200),
    )
)
def test_proofs_round_trip(proof: TlogProof) -> None:
    assert TlogProof.parse(proof.serialise()) == proof


@given(st.binary(max_size=200))
def test_random_bytes_are_no_proof_or_its_one_form(data: bytes) -> None:
    candidate = b"c2sp.org/tlog-proof@v1\nindex 1\n" + data
    try:
        proof = TlogProof.parse(candidate)
    except ReceiptMalformed:
        return
    assert proof.serialise() == candidate


@pytest.mark.parametrize(
    "text",
    [
        f"index 1\n{HASH[:-1]}\n\nx",
        f"index 1\n{HASH[:-2]}B=\n\nx",  # bits behind the end
        f"index 1\nextra AA==\n{HASH}\n\nx",
        "extra AA==\nextra AA==\nindex 1\n\nx",
        "extra AB==\nindex 1\n\nx",
        "index 1\n",
        "index 1\n\n",
        "index 1 \n\nx",
        "index 99999999999999999999\n\nx",
        "index 1\n" + f"{HASH}\n" * 64 + "\nx",
        f"index 1\n{HASH}é\n\nx",
    ],
)
def test_malformed_proofs(text: str) -> None:
    with pytest.raises(ReceiptMalformed):
        TlogProof.parse(f"c2sp.org/tlog-proof@v1\n{text}".encode())


def test_too_long_a_receipt() -> None:
    with pytest.raises(ReceiptMalformed, match="too long"):
        TlogProof.parse(bytes(MAX_RECEIPT_BYTES + 1))


def with_extra(extra: bytes | None) -> bytes:
    return TlogProof(0, (), b"checkpoint\n", extra).serialise()


@pytest.mark.parametrize(
    "items",
    [[], [b"entry"], [b"entry", bytes(31)], ["entry", bytes(32)], [b"entry", bytes(32), b""]],
)
def test_extra_lines_of_another_shape(items: list[Item]) -> None:
    with pytest.raises(ReceiptMalformed, match="an entry and a salt"):
        UnverifiedReceipt.parse(with_extra(encode_array(items)))


def test_extra_lines_that_are_no_cbor() -> None:
    with pytest.raises(ReceiptMalformed, match="CBOR"):
        UnverifiedReceipt.parse(with_extra(b"\xff"))
    with pytest.raises(ReceiptMalformed, match="extra line"):
        UnverifiedReceipt.parse(with_extra(None))


def test_salts_are_not_printed() -> None:
    receipt = UnverifiedReceipt.parse(with_extra(encode_array([b"entry", b"S" * 32])))
    assert "salt" not in repr(receipt)


# Policies.

KEY = VerifierKey.of("log.example/e", ec.generate_private_key(ec.SECP256R1()).public_key())
ED_KEY = VerifierKey.of("log.example/e", ed25519.Ed25519PrivateKey.generate().public_key())


def witness_key(number: int, kind: int = 4) -> str:
    data = bytes([kind]) + bytes([number]) * {4: 32, 6: 1312}.get(kind, 32)
    key_id = hashlib.sha256(b"w.example\n" + data).hexdigest()[:8]
    return f"w.example+{key_id}+{base64.b64encode(data).decode()}"


W = [witness_key(number) for number in range(10)]


def parse(text: str) -> Policy:
    return Policy.parse(text.encode())


def test_a_whole_policy() -> None:
    policy = parse(
        "# who may vouch\n\n"
        f"log {KEY} https://log.example/\n"
        f"\t log  {ED_KEY}\t\n"
        f"witness X1 {W[1]}\nwitness X2 {W[2]}\nwitness X3 {W[3]} https://x3.example\n"
        f"witness Y1 {W[4]}\nwitness Y2 {witness_key(5, 6)}\n"
        "group X 2 X1 X2 X3\ngroup Y any Y1 Y2\ngroup both all X Y\nquorum both\n"
    )
    assert policy.log("log.example/e").keys == (KEY, ED_KEY)
    assert policy.groups["X"] == Group("X", 2, ("X1", "X2", "X3"))
    assert policy.groups["Y"].threshold == 1
    assert policy.groups["both"].threshold == 2
    assert policy.quorum == "both"
    assert policy.witnesses["Y2"].kind == 6


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"log {KEY}\n",
        "quorum none",
        "quorum none\nquorum none\n",
        "quorum X\n",
        "quorum none none\n",
        "Quorum none\n",
        "quorum none\r\n",
        "quorum none\n\x00",
        "quorum none\x7f\n",
        "log\nquorum none\n",
        f"log {KEY} url more\nquorum none\n",
        f"log {KEY}\nlog {KEY}\nquorum none\n",
        f"log {str(KEY).replace('example', 'elsewhere')}\nlog {KEY}\nquorum none\n",
        "log x+00000000+AQ==\nquorum none\n",
        f"witness none {W[1]}\nquorum none\n",
        f"witness X {W[1]}\nwitness X {W[2]}\nquorum none\n",
        f"witness X {W[1]}\nwitness Y {W[1]}\nquorum none\n",
        f"witness X {W[1][:-4]}AAAA\nquorum none\n",
        f"witness X {W[1].replace('w.example', 'v.example')}\nquorum none\n",
        f"witness X {witness_key(1, 1)}\nquorum none\n",
        "witness X w+00000000+\nquorum none\n",
        "witness X w\nquorum none\n",
        f"group G all X\nwitness X {W[1]}\nquorum none\n",
        f"witness X {W[1]}\ngroup G all X X\nquorum G\n",
        f"witness X {W[1]}\ngroup G all X\ngroup H all X\nquorum G\n",
        f"witness X {W[1]}\ngroup G 2 X\nquorum G\n",
        f"witness X {W[1]}\ngroup G 0 X\nquorum G\n",
        f"witness X {W[1]}\ngroup G 01 X\nquorum G\n",
        f"witness X {W[1]}\ngroup G some X\nquorum G\n",
        f"witness X {W[1]}\ngroup G all\nquorum none\n",
        f"witness X {W[1]}\ngroup X all X\nquorum none\n",
        f"witness X {W[1]}\ngroup G all G\nquorum none\n",
    ],
)
def test_malformed_policies(text: str) -> None:
    with pytest.raises(PolicyMalformed):
        parse(text)


def test_too_many_or_too_much() -> None:
    with pytest.raises(PolicyMalformed, match="too long"):
        Policy.parse(b"#" * (MAX_POLICY_BYTES + 1))
    witnesses = "".join(f"witness W{n} {witness_key(n)}\n" for n in range(65))
    with pytest.raises(PolicyMalformed, match="too many witnesses"):
        parse(witnesses + "quorum none\n")
    groups = "".join(f"witness W{n} {witness_key(n)}\ngroup G{n} all W{n}\n" for n in range(32))
    more = "".join(f"group H{n} all G{n}\n" for n in range(32)) + "group I all H0\n"
    with pytest.raises(PolicyMalformed, match="too many groups"):
        parse(groups + more + "quorum none\n")
    logs = [
        VerifierKey.of("log", ed25519.Ed25519PrivateKey.generate().public_key()) for _ in range(65)
    ]
    with pytest.raises(PolicyMalformed, match="too many logs"):
        serialise_policy(logs)


def test_names_and_comments_are_octets() -> None:
    policy = Policy.parse(b"# \xff\nwitness \xff\xfe " + W[1].encode() + b"\nquorum \xff\xfe\n")
    assert policy.quorum is not None
    with pytest.raises(PolicyMalformed):
        Policy.parse(b"log \xff" + str(KEY).encode() + b"\nquorum none\n")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_by_name(data: bytes) -> None:
    try:
        Policy.parse(data + b"\nquorum none\n")
    except PolicyMalformed:
        return


def test_a_logs_own_policy_is_two_lines_and_no_quorum() -> None:
    data = serialise_policy([KEY, ED_KEY])
    assert data == f"log {KEY}\nlog {ED_KEY}\nquorum none\n".encode()
    assert Policy.parse(data).sha256 == hashlib.sha256(data).digest()
