import pytest
from hypothesis import given
from hypothesis import strategies as st

from softhsm_config.errors import TlvMalformed
from softhsm_config.virtual_card import tlv


@pytest.mark.parametrize(
    "unverified",
    ["7C", "7C02AA", "5F", "5F82", "5F828382", "7C83000001AA", "7C80", "7C81", "7C8201"],
)
def test_malformed_objects_are_refused(unverified: str) -> None:
    with pytest.raises(TlvMalformed):
        tlv.decode_all(bytes.fromhex(unverified))


@given(
    st.lists(
        st.tuples(st.sampled_from([0x53, 0x70, 0x7C, 0x5F2F, 0x5FC105]), st.binary(max_size=700))
    )
)
def test_what_is_encoded_is_decoded(objects: list[tuple[int, bytes]]) -> None:
    encoded = b"".join(tlv.encode(tag, value) for tag, value in objects)
    assert tlv.decode_all(encoded) == objects


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(unverified: bytes) -> None:
    try:
        decoded = tlv.decode_all(unverified)
    except TlvMalformed:
        return
    assert sum(len(value) for _, value in decoded) <= len(unverified)
