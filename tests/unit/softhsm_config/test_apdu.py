import pytest
from hypothesis import given
from hypothesis import strategies as st

from softhsm_config.errors import ApduMalformed
from softhsm_config.virtual_card.apdu import (
    ApduChannel,
    Command,
    Response,
    parse_command,
)

HEADER = bytes.fromhex("00CB3FFF")


@pytest.mark.parametrize(
    "unverified",
    [
        b"",
        b"\x00\xa4\x04",
        HEADER + b"\x02\x01",  # short Lc, data missing
        HEADER + b"\x01\x01\x00\x00",  # more behind a short Le
        HEADER + b"\x00\x01",  # extended field cut off
        HEADER + b"\x00\x00\x02\x01",  # extended Lc, data missing
        HEADER + b"\x00\x00\x01\x01\x00",  # half an extended Le
        HEADER + b"\x00\x00\x00\x01\x02\x03",  # extended Lc of zero with data
    ],
)
def test_malformed_commands_are_refused(unverified: bytes) -> None:
    with pytest.raises(ApduMalformed):
        parse_command(unverified)


@pytest.mark.parametrize(
    ("body", "data", "expected"),
    [
        (b"", b"", None),
        (b"\x08", b"", 8),
        (b"\x00", b"", 256),
        (b"\x02ab", b"ab", None),
        (b"\x02ab\x00", b"ab", 256),
        (b"\x02ab\x09", b"ab", 9),
        (b"\x00\x01\x00", b"", 256),
        (b"\x00\x00\x00", b"", 65536),
        (b"\x00\x00\x02ab", b"ab", None),
        (b"\x00\x00\x02ab\x00\x00", b"ab", 65536),
        (b"\x00\x00\x02ab\x01\x02", b"ab", 0x102),
    ],
)
def test_the_seven_cases(body: bytes, data: bytes, expected: int | None) -> None:
    assert parse_command(HEADER + body) == Command(0x00, 0xCB, 0x3F, 0xFF, data, expected)


@given(st.binary(max_size=600))
def test_any_bytes_are_parsed_or_refused(unverified: bytes) -> None:
    try:
        command = parse_command(unverified)
    except ApduMalformed:
        return
    assert command.data in unverified
    assert command.expected is None or 1 <= command.expected <= 65536


@given(st.binary(max_size=600))
def test_the_channel_answers_any_bytes(unverified: bytes) -> None:
    channel = ApduChannel(lambda command: Response(command.data))
    assert len(channel.handle(unverified)) >= 2


def echo() -> tuple[ApduChannel, list[Command]]:
    executed: list[Command] = []

    def execute(command: Command) -> Response:
        executed.append(command)
        return Response(command.data)

    return ApduChannel(execute), executed


def test_malformed_commands_are_answered_with_a_status() -> None:
    channel, executed = echo()
    assert channel.handle(b"\x00") == bytes.fromhex("6700")
    assert not executed


def test_chained_commands_run_once_with_all_data() -> None:
    channel, executed = echo()
    assert channel.handle(bytes.fromhex("10CB3FFF 02 6162")) == bytes.fromhex("9000")
    assert not executed
    assert channel.handle(bytes.fromhex("00CB3FFF 01 63 00")) == b"abc\x90\x00"
    assert executed == [Command(0x00, 0xCB, 0x3F, 0xFF, b"abc", 256)]


def test_another_command_inside_a_chain_is_refused() -> None:
    channel, executed = echo()
    channel.handle(bytes.fromhex("10CB3FFF 02 6162"))
    assert channel.handle(bytes.fromhex("00873FFF 01 63")) == bytes.fromhex("6883")
    assert not executed
    assert channel.handle(bytes.fromhex("00873FFF 01 63")) == b"c\x90\x00"


def test_an_endless_chain_is_refused() -> None:
    channel, _ = echo()
    part = bytes.fromhex("10CB3FFF 00 FFFF") + bytes(0xFFFF)
    assert channel.handle(part) == bytes.fromhex("9000")
    assert channel.handle(part) == bytes.fromhex("6700")


def test_long_answers_come_in_pieces() -> None:
    channel = ApduChannel(lambda _: Response(bytes(range(256)) * 2 + b"end"))
    first = channel.handle(bytes.fromhex("00CB3FFF00"))
    assert first[-2:] == bytes.fromhex("6100")  # 256 or more left
    second = channel.handle(bytes.fromhex("00C0000000"))
    assert second[-2:] == bytes.fromhex("6103")
    third = channel.handle(bytes.fromhex("00C0000003"))
    assert third == b"end\x90\x00"
    assert first[:-2] + second[:-2] + third[:-2] == bytes(range(256)) * 2 + b"end"
    assert channel.handle(bytes.fromhex("00C0000000")) == bytes.fromhex("6985")


def test_extended_lengths_need_no_pieces() -> None:
    channel = ApduChannel(lambda _: Response(bytes(1000)))
    assert channel.handle(bytes.fromhex("00CB3FFF000000")) == bytes(1000) + b"\x90\x00"


def test_another_command_and_reset_drop_what_is_pending() -> None:
    channel = ApduChannel(lambda _: Response(bytes(300)))
    channel.handle(bytes.fromhex("00CB3FFF00"))
    channel.handle(bytes.fromhex("10CB3FFF0161"))
    assert channel.handle(bytes.fromhex("00C0000000")) == bytes.fromhex("6985")
    channel.handle(bytes.fromhex("00CB3FFF00"))
    channel.reset()
    assert channel.handle(bytes.fromhex("00C0000000")) == bytes.fromhex("6985")
