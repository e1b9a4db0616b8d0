"""The deterministic CBOR (RFC 8949, section 4.2.1) of log entries: arrays and nothing nested.

An entry is one definite-length array of text strings, byte strings and unsigned
integers, each with the shortest head. Every value has thus exactly one encoding,
and the decoder refuses all others.
"""

from collections.abc import Sequence

from signer.receipts.errors import CborNotDeterministic

Item = int | bytes | str

_UINT, _BYTES, _TEXT, _ARRAY = 0, 2, 3, 4
_DIRECT_LIMIT = 24  # RFC 8949, section 3: smaller arguments are in the initial byte
_MAX_UINT = 2**64 - 1
MAX_ARRAY_BYTES = 65_535  # an entry fits a bundle (tlog-tiles)


def encode_array(items: Sequence[Item]) -> bytes:
    """The one encoding of an array.

    Args:
        items: unsigned integers below 2**64, byte strings, text strings.

    Raises:
        ValueError: an integer is negative or too large.
    """
    return _head(_ARRAY, len(items)) + b"".join(_encode_item(item) for item in items)


def decode_array(data: bytes) -> tuple[Item, ...]:
    """The items of an array in its one encoding.

    Raises:
        CborNotDeterministic: the bytes are another encoding, another type, or go on.
    """
    if len(data) > MAX_ARRAY_BYTES:
        raise CborNotDeterministic("the array is too long")
    major, count, offset = _read_head(data, 0)
    if major != _ARRAY:
        raise CborNotDeterministic("not an array")
    items = []
    for _ in range(count):  # each item needs a byte, so a false count ends at the data's end
        item, offset = _read_item(data, offset)
        items.append(item)
    if offset != len(data):
        raise CborNotDeterministic("bytes follow the array")
    return tuple(items)


def _head(major: int, argument: int) -> bytes:
    if not 0 <= argument <= _MAX_UINT:
        raise ValueError("not an unsigned integer of 64 bits")
    if argument < _DIRECT_LIMIT:
        return bytes([major << 5 | argument])
    power = next(p for p in range(4) if argument < 1 << (8 << p))
    length = 1 << power
    return bytes([major << 5 | _DIRECT_LIMIT + power]) + argument.to_bytes(length, "big")


def _encode_item(item: Item) -> bytes:
    if isinstance(item, bytes):
        return _head(_BYTES, len(item)) + item
    if isinstance(item, str):
        encoded = item.encode()
        return _head(_TEXT, len(encoded)) + encoded
    return _head(_UINT, item)


def _read_head(data: bytes, offset: int) -> tuple[int, int, int]:
    """Major type, argument, and the offset behind the head."""
    if offset >= len(data):
        raise CborNotDeterministic("the data ends too early")
    major, info = data[offset] >> 5, data[offset] & 0x1F
    offset += 1
    if info < _DIRECT_LIMIT:
        return major, info, offset
    if info > _DIRECT_LIMIT + 3:  # reserved, or an indefinite length
        raise CborNotDeterministic("an indefinite length or a reserved value")
    length = 1 << (info - _DIRECT_LIMIT)
    raw = data[offset : offset + length]
    if len(raw) != length:
        raise CborNotDeterministic("the data ends too early")
    argument = int.from_bytes(raw, "big")
    shortest = _DIRECT_LIMIT if length == 1 else 1 << 4 * length
    if argument < shortest:
        raise CborNotDeterministic("a number is not in its shortest form")
    return major, argument, offset + length


def _read_item(data: bytes, offset: int) -> tuple[Item, int]:
    major, argument, offset = _read_head(data, offset)
    if major == _UINT:
        return argument, offset
    if major not in (_BYTES, _TEXT):
        raise CborNotDeterministic("an item of a type that log entries do not have")
    raw = data[offset : offset + argument]
    if len(raw) != argument:
        raise CborNotDeterministic("the data ends too early")
    if major == _BYTES:
        return raw, offset + argument
    try:
        return raw.decode(), offset + argument
    except UnicodeDecodeError as error:
        raise CborNotDeterministic("a text string is not UTF-8") from error
