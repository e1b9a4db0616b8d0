"""Frames, faults, insertion and control of a card, with a reader of our own on loopback."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import cast

import pytest

from softhsm_config.errors import (
    CardCommandRefused,
    CardPulled,
    FrameMalformed,
    ReaderFailed,
)
from softhsm_config.virtual_card import control
from softhsm_config.virtual_card.card import Card, masked
from softhsm_config.virtual_card.card_file import CardImage
from softhsm_config.virtual_card.chip_key import CardAlgorithm
from softhsm_config.virtual_card.control import ControlServer
from softhsm_config.virtual_card.faults import Faults
from softhsm_config.virtual_card.insertion import Insertion
from softhsm_config.virtual_card.piv import ATR
from softhsm_config.virtual_card.runner import CardControl, PcscService
from softhsm_config.virtual_card.slots import Slot
from softhsm_config.virtual_card.vpcd import ReaderConnection

VERIFY = bytes.fromhex("0020008008") + b"271828\xff\xff"
SIGN = bytes.fromhex("0087119E267C2482008120") + bytes(32) + b"\0"
OK = bytes.fromhex("9000")


@pytest.fixture
def image(tmp_path: Path) -> CardImage:
    keys = {Slot.CARD_AUTHENTICATION: CardAlgorithm.EC_P256}
    return CardImage.create(tmp_path / "card", pin="271828", keys=keys, expires=date(2031, 1, 1))


@pytest.fixture
def trace() -> list[str]:
    return []


@pytest.fixture
def card(image: CardImage, trace: list[str]) -> Card:
    return Card(image, trace.append)


def test_the_trace_masks_pins_also_in_chains(card: Card, trace: list[str]) -> None:
    assert card.answer(VERIFY) == OK
    assert card.answer(bytes.fromhex("00F8000000")) is not None
    assert trace[0] == "> 00200080 [9 bytes masked]"
    assert "323731383238" not in "".join(trace)
    assert masked(bytes.fromhex("10200080") + b"2718") == "10200080 [4 bytes masked]"
    assert masked(bytes.fromhex("00200080")) == "00200080"


@pytest.mark.parametrize("code", [0x00, 0x01, 0x02])
def test_power_and_reset_forget_the_pin(card: Card, code: int) -> None:
    card.answer(VERIFY)
    assert card.answer(bytes([code])) is None
    assert card.answer(bytes.fromhex("00200080")) == bytes.fromhex("63C3")


def test_control_frames(card: Card) -> None:
    assert card.answer(b"\x04") == ATR
    assert card.answer(b"\x07") is None


def test_faults(card: Card) -> None:
    good = card.answer(SIGN)
    assert good is not None
    assert good[-2:] == OK
    assert card.signatures == 1
    card.set_faults(Faults(status_word=0x6F00))
    assert card.answer(SIGN) == bytes.fromhex("6F00")
    assert card.signatures == 1
    assert card.answer(VERIFY) == OK  # faults touch key operations alone
    card.set_faults(Faults(corrupt_signatures=True))
    assert (card.answer(SIGN) or b"")[-2:] == OK
    card.set_faults(Faults(remove_while_signing=True))
    with pytest.raises(CardPulled):
        card.answer(SIGN)
    assert (card.answer(SIGN) or b"")[-2:] == OK  # the fault is spent
    assert card.faults == Faults()


def test_a_refused_operation_is_not_corrupted(card: Card) -> None:
    card.set_faults(Faults(corrupt_signatures=True))
    assert card.answer(bytes.fromhex("0087119A00")) == bytes.fromhex("6A88")


def test_pulling_ends_a_slow_signature(card: Card) -> None:
    card.set_faults(Faults(signing_seconds=30))
    threading.Timer(0.05, card.pull).start()
    with pytest.raises(CardPulled):
        card.answer(SIGN)
    card.insert()
    card.set_faults(Faults())
    assert (card.answer(SIGN) or b"")[-2:] == OK


@pytest.fixture
def listener(socket_enabled: None) -> Iterator[socket.socket]:
    """Where the driver of the virtual reader would listen."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def address_of(server: socket.socket) -> tuple[str, int]:
    host, port = server.getsockname()
    return host, port


def test_frames(listener: socket.socket) -> None:
    with ReaderConnection.open(address_of(listener), 1) as card_end:
        reader_end, _ = listener.accept()
        with reader_end:
            reader_end.sendall(b"\x00\x05he")
            reader_end.sendall(b"llo\x00\x01\x04")
            assert card_end.read_frame() == b"hello"
            assert card_end.read_frame() == b"\x04"
            card_end.write_frame(b"answer")
            assert reader_end.recv(100) == b"\x00\x06answer"
            reader_end.shutdown(socket.SHUT_WR)
            assert card_end.read_frame() is None


@pytest.mark.parametrize("sent", [b"\x00", b"\x00\x05he"])
def test_half_a_frame_is_refused(listener: socket.socket, sent: bytes) -> None:
    with ReaderConnection.open(address_of(listener), 1) as card_end:
        reader_end, _ = listener.accept()
        reader_end.sendall(sent)
        reader_end.close()
        with pytest.raises(FrameMalformed):
            card_end.read_frame()


def test_a_closed_connection_reads_nothing(listener: socket.socket) -> None:
    card_end = ReaderConnection.open(address_of(listener), 1)
    card_end.close()
    assert card_end.read_frame() is None


def test_nobody_listens(listener: socket.socket) -> None:
    address = address_of(listener)
    listener.close()
    with pytest.raises(ReaderFailed, match="does not listen"):
        ReaderConnection.open(address, 0.1)


def test_insertion_and_removal(card: Card, listener: socket.socket) -> None:
    insertion = Insertion(card, address_of(listener), wait_seconds=1)
    insertion.remove()  # without effect
    insertion.insert()
    with pytest.raises(CardCommandRefused, match="in the reader already"):
        insertion.insert()
    reader_end, _ = listener.accept()
    with reader_end:
        reader_end.sendall(b"\x00\x01\x01\x00\x01\x04")
        assert reader_end.recv(100)[2:] == ATR
        insertion.remove()
        assert not insertion.inserted
        assert reader_end.recv(1) == b""


def test_the_card_leaves_by_itself_when_the_reader_goes(
    card: Card, listener: socket.socket
) -> None:
    insertion = Insertion(card, address_of(listener), wait_seconds=1)
    insertion.insert()
    reader_end, _ = listener.accept()
    reader_end.sendall(b"\x00\x09half")
    reader_end.close()
    insertion.remove()
    assert not insertion.inserted


def test_removal_in_the_middle_of_a_command(card: Card, listener: socket.socket) -> None:
    insertion = Insertion(card, address_of(listener), wait_seconds=1)
    insertion.insert()
    reader_end, _ = listener.accept()
    with reader_end:
        card.set_faults(Faults(remove_while_signing=True))
        reader_end.sendall(len(SIGN).to_bytes(2) + SIGN)
        assert reader_end.recv(1) == b""
    insertion.remove()


def test_control_commands(
    card: Card, image: CardImage, listener: socket.socket, tmp_path: Path
) -> None:
    insertion = Insertion(card, address_of(listener), wait_seconds=1)
    path = tmp_path / "control"
    service = cast("PcscService", None)  # no pcscd here: nothing asks for its restart
    server = ControlServer(path, CardControl(image, card, insertion, service).handle)
    try:

        def ask(command: str, **arguments: object) -> dict[str, object]:
            return control.ask(path, {"command": command, **arguments}, timeout=60)

        assert ask("state")["inserted"] is False
        assert ask("insert")["inserted"] is True
        assert ask("remove")["inserted"] is False
        image.try_pin(bytes(8))
        assert ask("state")["tries_left"] == 2
        assert ask("restore-tries")["tries_left"] == 3
        faults = Faults(signing_seconds=0.5, status_word=0x6A82)
        assert ask("faults", faults=faults.to_json())["faults"] == faults.to_json()
        for wrong in ({"command": "explode"}, {"no": "command"}, {"command": "faults"}):
            with pytest.raises(CardCommandRefused):
                control.ask(path, wrong, timeout=60)
        with pytest.raises(CardCommandRefused, match="TypeError"):
            ask("faults", faults={"gravity": 0})
    finally:
        server.close()
    with pytest.raises(ReaderFailed, match="has stopped"):
        control.ask(path, {"command": "state"}, timeout=60)


def test_control_answers_garbage_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "control"
    server = ControlServer(path, dict)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"{\n")
            assert "error" in json.loads(connection.recv(1000))
    finally:
        server.close()


def test_control_server_that_hangs_up(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(ReaderFailed, match="hung up"):
            control.ask(path, {}, timeout=60)
        thread.join()
