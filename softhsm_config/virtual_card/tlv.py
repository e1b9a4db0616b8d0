"""BER-TLV data objects as smartcards use them (ISO/IEC 7816-4 section 5.2.2). Pure."""

from softhsm_config.errors import TlvMalformed

_MORE_TAG_BYTES = 0x1F
_LAST_TAG_BYTE = 0x80


def encode(tag: int, value: bytes) -> bytes:
    """Return one data object with the shortest length field.

    Args:
        tag: The whole tag as a number, for example 0x7C or 0x5F2F.
        value: Content, up to 65,535 bytes.
    """
    tag_bytes = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    length = len(value)
    if length < 0x80:
        return tag_bytes + bytes([length]) + value
    if length < 0x100:
        return tag_bytes + bytes([0x81, length]) + value
    return tag_bytes + b"\x82" + length.to_bytes(2, "big") + value


def decode_all(unverified: bytes) -> list[tuple[int, bytes]]:
    """Return the data objects that stand one behind the other, as (tag, value) pairs.

    Raises:
        TlvMalformed: A tag or length is cut off, or a length form other than 1 to 3 bytes.
    """
    found = []
    position = 0
    while position < len(unverified):
        tag, position = _read_tag(unverified, position)
        length, position = _read_length(unverified, position)
        if position + length > len(unverified):
            raise TlvMalformed("value is cut off")
        found.append((tag, unverified[position : position + length]))
        position += length
    return found


def _read_tag(data: bytes, position: int) -> tuple[int, int]:
    tag = data[position]
    position += 1
    if tag & _MORE_TAG_BYTES != _MORE_TAG_BYTES:
        return tag, position
    for _ in range(2):
        if position >= len(data):
            raise TlvMalformed("tag is cut off")
        byte = data[position]
        position += 1
        tag = tag << 8 | byte
        if not byte & _LAST_TAG_BYTE:
            return tag, position
    raise TlvMalformed("tag is longer than three bytes")


def _read_length(data: bytes, position: int) -> tuple[int, int]:
    if position >= len(data):
        raise TlvMalformed("length is missing")
    first = data[position]
    position += 1
    if first < 0x80:
        return first, position
    width = first & 0x7F
    if width not in (1, 2):
        raise TlvMalformed("length form is not of one to three bytes")
    if position + width > len(data):
        raise TlvMalformed("length is cut off")
    return int.from_bytes(data[position : position + width], "big"), position + width
