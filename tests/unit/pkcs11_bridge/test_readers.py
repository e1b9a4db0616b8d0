"""What PC/SC says and what we make of it; conditions that no virtual reader can be put into."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from smartcard import scard as real

from pkcs11_bridge import readers
from pkcs11_bridge.errors import (
    CardMute,
    CardRemoved,
    DeviceUnavailable,
    NoCard,
    NoReader,
    ReaderServiceDown,
    TokenAmbiguous,
    TokenBusy,
)
from pkcs11_bridge.readers import Reader

EMPTY, PRESENT = real.SCARD_STATE_EMPTY, real.SCARD_STATE_PRESENT
ATR = [0x3B, 0x80]


@dataclass
class Service:
    """A PC/SC service: its readers' states, its return codes, and the card's answers."""

    states: dict[str, int] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    while_waiting: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("SCARD_"):
            return getattr(real, name)
        raise AttributeError(name)

    def _code(self, call: str, detail: Any = None) -> int:
        self.calls.append((call, detail))
        return self.codes.get(call, 0)

    def SCardEstablishContext(self, scope: int) -> tuple[int, int]:  # noqa: N802 - PC/SC's name
        return self._code("establish"), 1

    def SCardReleaseContext(self, context: int) -> int:  # noqa: N802 - PC/SC's name
        return self._code("release")

    def SCardListReaders(self, context: int, groups: list[str]) -> tuple[int, list[str]]:  # noqa: N802 - PC/SC's name
        return self._code("list"), list(self.states)

    def SCardGetStatusChange(  # noqa: N802 - PC/SC's name
        self, context: int, timeout: int, questions: list[tuple[str, int]]
    ) -> tuple[int, list[tuple[str, int, list[int]]]]:
        if timeout:
            self.calls.append(("wait", questions))
            self.while_waiting()
            return self.codes.get("wait", signed(real.SCARD_E_TIMEOUT & 0xFFFFFFFF)), []
        return self._code("status"), [
            (name, state, ATR if state & PRESENT else []) for name, state in self.states.items()
        ]

    def SCardConnect(  # noqa: N802 - PC/SC's name
        self, context: int, reader: str, mode: int, protocols: int
    ) -> tuple[int, int, int]:
        return self._code("connect", reader), 7, real.SCARD_PROTOCOL_T1

    def SCardTransmit(  # noqa: N802 - PC/SC's name
        self, handle: int, protocol: int, command: list[int]
    ) -> tuple[int, list[int]]:
        code = self._code("transmit", bytes(command).hex())
        return code, list(bytes.fromhex(self.answers.pop(0))) if not code else []

    def SCardDisconnect(self, handle: int, disposition: int) -> int:  # noqa: N802 - PC/SC's name
        return self._code("disconnect", disposition)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    made = Service()
    monkeypatch.setattr(readers, "scard", made)
    monkeypatch.setattr(readers, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(readers, "GONE_SECONDS", 0.03)
    return made


def signed(code: int) -> int:
    """As pyscard gives codes: signed 32 bits."""
    return code - (1 << 32) if code >= 1 << 31 else code


def test_no_service(service: Service) -> None:
    service.codes["establish"] = signed(real.SCARD_E_NO_SERVICE & 0xFFFFFFFF)
    with pytest.raises(ReaderServiceDown, match="8010001D"):
        readers.wait_for_card(0)


@pytest.mark.parametrize("code", [real.SCARD_S_SUCCESS, real.SCARD_E_NO_READERS_AVAILABLE])
def test_no_reader(service: Service, code: int) -> None:
    service.codes["list"] = code
    assert readers.list_readers() == ()
    with pytest.raises(NoReader):
        readers.wait_for_card(0.03)


def test_empty_readers_and_another_reader_than_wanted(service: Service) -> None:
    service.states = {"a": EMPTY, "b": PRESENT}
    with pytest.raises(NoCard):
        readers.wait_for_card(0.03, "a")
    with pytest.raises(NoReader):
        readers.wait_for_card(0, "c")
    assert readers.wait_for_card(0) == Reader("b", bytes(ATR))


def test_a_card_that_does_not_answer(service: Service) -> None:
    service.states = {"a": PRESENT | real.SCARD_STATE_MUTE}
    assert readers.list_readers() == (Reader("a", None, mute=True),)
    with pytest.raises(CardMute):
        readers.wait_for_card(0)


def test_a_card_without_an_answer_to_reset(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.pkcs11_bridge.test_readers.ATR", [])
    service.states = {"a": PRESENT}
    with pytest.raises(CardMute):
        readers.wait_for_card(0)


def test_several_cards(service: Service) -> None:
    service.states = {"a": PRESENT, "b": PRESENT}
    with pytest.raises(TokenAmbiguous) as caught:
        readers.wait_for_card(0)
    assert caught.value.count == 2
    assert readers.wait_for_card(0, "b").name == "b"


@pytest.mark.parametrize("call", ["list", "status"])
def test_a_service_that_fails(service: Service, call: str) -> None:
    service.states = {"a": PRESENT}
    service.codes[call] = signed(real.SCARD_F_COMM_ERROR & 0xFFFFFFFF)
    with pytest.raises(DeviceUnavailable):
        readers.list_readers()
    assert service.calls[-1] == ("release", None)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (real.SCARD_W_REMOVED_CARD, CardRemoved),
        (real.SCARD_E_NO_SMARTCARD, CardRemoved),
        (real.SCARD_W_UNRESPONSIVE_CARD, CardMute),
        (real.SCARD_E_SHARING_VIOLATION, TokenBusy),
        (real.SCARD_F_INTERNAL_ERROR, DeviceUnavailable),
    ],
)
def test_return_codes(service: Service, code: int, error: type[Exception]) -> None:
    service.codes["connect"] = signed(code & 0xFFFFFFFF)
    with pytest.raises(error):
        readers.reset_card("a")


def test_a_card_in_use_elsewhere_tells_no_tries(service: Service) -> None:
    service.codes["connect"] = signed(real.SCARD_E_SHARING_VIOLATION & 0xFFFFFFFF)
    assert readers.pin_tries_left("a") is None


@pytest.mark.parametrize(
    ("answers", "tries"),
    [
        (["9000", "63c3"], 3),
        (["6111", "63c1"], 1),
        (["9000", "63c0"], 0),
        (["9000", "6983"], 0),
        (["9000", "9000"], None),  # verified already
        (["9000", "6a88"], None),
        (["9000", "6300"], None),
        (["6a82"], None),  # no PIV card: nothing else is sent
    ],
)
def test_tries_as_the_card_tells_them(
    service: Service, answers: list[str], tries: int | None
) -> None:
    service.answers = list(answers)
    assert readers.pin_tries_left("a") == tries
    assert service.answers == []
    sent = [detail for call, detail in service.calls if call == "transmit"]
    assert sent == ["00a4040005a00000030800", "00200080"][: len(answers)]
    assert ("disconnect", real.SCARD_LEAVE_CARD) in service.calls


def test_a_card_pulled_while_asked(service: Service) -> None:
    service.codes["transmit"] = signed(real.SCARD_W_REMOVED_CARD & 0xFFFFFFFF)
    with pytest.raises(CardRemoved):
        readers.pin_tries_left("a")
    assert ("disconnect", real.SCARD_LEAVE_CARD) in service.calls


def test_a_reset_is_a_reset(service: Service) -> None:
    readers.reset_card("a")
    assert ("disconnect", real.SCARD_RESET_CARD) in service.calls


@pytest.mark.parametrize("code", [real.SCARD_E_SHARING_VIOLATION, real.SCARD_F_INTERNAL_ERROR])
def test_a_reset_that_is_refused_is_told(service: Service, code: int) -> None:
    service.codes["disconnect"] = signed(code & 0xFFFFFFFF)
    with pytest.raises((TokenBusy, DeviceUnavailable)):
        readers.reset_card("a")


def test_a_card_that_comes_while_waited_for(service: Service) -> None:
    told: list[type[Exception]] = []
    steps = [{"a": EMPTY}, {"a": EMPTY}, {"a": PRESENT | 1 << 16}]

    def while_waiting() -> None:
        service.states = steps.pop(0)

    service.while_waiting = while_waiting
    found = readers.wait_for_card(30, None, lambda missing: told.append(type(missing)))
    assert found == Reader("a", bytes(ATR), changes=1)
    assert told == [NoReader, NoCard]
    asked = [detail for call, detail in service.calls if call == "wait"]
    assert [name for name, _ in asked[-1]] == ["\\\\?PnP?\\Notification", "a"]
    assert asked[-1][1][1] == EMPTY


def test_a_service_that_ends_while_waited_for(service: Service) -> None:
    service.states = {"a": EMPTY}
    service.codes["wait"] = signed(real.SCARD_E_SERVICE_STOPPED & 0xFFFFFFFF)
    with pytest.raises(ReaderServiceDown):
        readers.wait_for_change(readers.list_readers(), 5)


def test_what_was_seen_already_is_waited_for_and_news_are_not(service: Service) -> None:
    service.states = {"a": PRESENT | 3 << 16}
    seen = readers.list_readers()
    assert readers.wait_for_change((), 5) == seen
    assert not any(call == "wait" for call, _ in service.calls)
    assert readers.wait_for_change(seen, 5) == seen
    assert ("wait", [("\\\\?PnP?\\Notification", 0), ("a", PRESENT | 3 << 16)]) in service.calls


def test_a_card_is_gone_also_when_another_is_in(service: Service) -> None:
    service.states = {"a": PRESENT | 1 << 16}
    found = readers.wait_for_card(0)
    assert not readers.card_has_gone(found)
    service.states = {"a": PRESENT | 3 << 16}
    assert readers.card_has_gone(found)
    service.states = {"a": EMPTY | 2 << 16}
    assert readers.card_has_gone(found)
    service.states = {}
    assert readers.card_has_gone(found)
