"""Hostile DER: whatever comes, it is judged or refused by a class of ours; never anything else.

Elements are cut out, repeated, swapped and given other tags and lengths, with the lengths around
them mended, and signed again where the signature would hide the rest.
"""

import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from asn1crypto import core
from asn1crypto import ocsp as asn1_ocsp
from hypothesis import given
from hypothesis import strategies as st

from ocsp.chain import validate_path
from ocsp.errors import AnswerRefused, CertificateRefused, PathUndecided
from ocsp.status import Good, Revoked, Suspended, Unknown
from tests.support.certificates import NOW, sign_bytes
from tests.support.ocsp_answers import SingleSpec, answer
from tests.support.ocsp_judging import PKI, SPEC, judge
from tests.support.trust import trust_store

WHOLE = answer(replace(SPEC, singles=(SingleSpec(cert_hash_of=PKI.leaf.der), SingleSpec())))
STORE = trust_store(PKI)
Node = tuple[int, int, int]
"""Offset of the tag, of the content, and of the end."""


def nodes_of(der: bytes, begin: int = 0, end: int | None = None) -> list[Node]:
    """All elements, those inside octet and bit strings too where they parse."""
    found: list[Node] = []
    position, stop = begin, len(der) if end is None else end
    while position + 2 <= stop:
        length, content = der[position + 1], position + 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[content : content + size])
            content += size
        node_end = content + length
        if node_end > stop:
            break
        found.append((position, content, node_end))
        if der[position] & 0x20 or (der[position] == 0x04 and length > 2 and der[content] == 0x30):
            found += nodes_of(der, content, node_end)
        position = node_end
    return found


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    body = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(body)]) + body


def with_element(der: bytes, chosen: Node, element: bytes) -> bytes:
    """The DER with an element replaced and the lengths around it mended."""
    begin, _, end = chosen
    around = [n for n in nodes_of(der) if n[0] < begin and end <= n[2]]
    for outer in sorted(around, reverse=True):
        content = der[outer[1] : begin] + element + der[end : outer[2]]
        element = der[outer[0] : outer[0] + 1] + _length(len(content)) + content
        begin, end = outer[0], outer[2]
    return der[:begin] + element + der[end:]


def _bent_element(source: random.Random, element: bytes, other: bytes) -> bytes:
    return source.choice(
        [
            b"",
            element + element,
            other,
            bytes([source.randrange(256)]) + element[1:],
            element[:1] + b"\x00",
            element[: max(2, len(element) // 2)],
            element[:1] + _length(len(element)) + element,
            element[:-1] + bytes([element[-1] ^ 1 << source.randrange(8)]),
            element[:1] + b"\x80" + element[2:] + b"\x00\x00",
            element[:1] + b"\x84\xff\xff\xff\xff" + element[2:],
        ]
    )


def bent(der: bytes, seed: int, times: int) -> bytes:
    """The DER with so many elements bent; the same for the same seed."""
    source = random.Random(seed)
    for _ in range(times):
        nodes = nodes_of(der)
        if not nodes:
            break
        chosen, other = source.choice(nodes), source.choice(nodes)
        element, another = der[chosen[0] : chosen[2]], der[other[0] : other[2]]
        der = with_element(der, chosen, _bent_element(source, element, another))
    return der


def judged_or_refused(der: bytes) -> None:
    try:
        status = judge(der)
    except AnswerRefused:
        return
    assert isinstance(status, Good | Revoked | Suspended | Unknown)


def test_the_bending_tool_leaves_an_answer_whole_when_it_changes_nothing() -> None:
    for node in nodes_of(WHOLE):
        assert with_element(WHOLE, node, WHOLE[node[0] : node[2]]) == WHOLE


def bent_answer(seed: int, times: int) -> None:
    """The signature is wrong as a rule: what comes before it is looked at."""
    judged_or_refused(bent(WHOLE, seed, times))


def bent_data(seed: int, times: int) -> None:
    """Response data under a good signature: what comes after it is looked at."""
    basic = asn1_ocsp.OCSPResponse.load(WHOLE)["response_bytes"]["response"].parsed
    data = bent(basic["tbs_response_data"].dump(), seed, times)
    signature = core.OctetBitString(sign_bytes(PKI.delegate.key, data)).dump()
    parts = data + basic["signature_algorithm"].dump() + signature + basic["certs"].dump()
    inner = core.OctetString(_sequence(parts)).dump()
    held = _sequence(core.ObjectIdentifier("1.3.6.1.5.5.7.48.1.1").dump() + inner)
    judged_or_refused(_sequence(b"\x0a\x01\x00\xa0" + _length(len(held)) + held))


def _sequence(content: bytes) -> bytes:
    return b"\x30" + _length(len(content)) + content


def bent_delegate(seed: int, times: int) -> None:
    """The certificate of the responder inside a good answer."""
    place = WHOLE.index(PKI.delegate.der)
    node = (place, place, place + len(PKI.delegate.der))
    judged_or_refused(with_element(WHOLE, node, bent(PKI.delegate.der, seed, times)))


def bent_certificate(seed: int, times: int) -> None:
    """The card's certificate."""
    try:
        validate_path(bent(PKI.leaf.der, seed, times), STORE, NOW)
    except (CertificateRefused, PathUndecided):
        return


WAYS = (bent_answer, bent_data, bent_delegate, bent_certificate)


@pytest.mark.parametrize("way", WAYS)
@given(seed=st.integers(0, 2**64), times=st.integers(1, 4))
def test_what_is_bent_is_judged_or_refused(
    way: Callable[[int, int], None], seed: int, times: int
) -> None:
    way(seed, times)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_minutes_of_bending_bring_no_other_exception() -> None:
    end, source = time.monotonic() + 600, random.Random()
    while time.monotonic() < end:
        seed, times = source.getrandbits(64), source.randint(1, 6)
        for way in WAYS:
            try:
                way(seed, times)
            except Exception as error:
                error.add_note(f"{way.__name__}({seed}, {times})")
                raise


@pytest.mark.parametrize("depth", [50, 5_000])
def test_nesting_without_end_is_refused(depth: int) -> None:
    der = b""
    for _ in range(depth):
        der = b"\x30" + _length(len(der)) + der
    with pytest.raises(AnswerRefused):
        judge(der)
