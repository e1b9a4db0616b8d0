"""Which of a module's slots are the reader's card."""

from dataclasses import dataclass
from typing import Any, cast

import pkcs11._pkcs11
import pytest
from pkcs11.exceptions import PKCS11Error, TokenNotPresent, TokenNotRecognised

from pkcs11_bridge.card import _tokens_in
from pkcs11_bridge.errors import CardUnsupported, TokenNotFound

READER = "Reader 00 00"


@dataclass
class Slot:
    slot_id: int
    slot_description: str = READER
    error: PKCS11Error | None = None

    def get_token(self) -> str:
        if self.error is not None:
            raise self.error
        return f"token {self.slot_id}"


def tokens_in(*slots: Slot, reader: str = READER) -> dict[int, Any]:
    class Library:
        def get_slots(self, token_present: bool) -> list[Slot]:
            assert token_present
            return list(slots)

    return dict(_tokens_in(cast("pkcs11._pkcs11.lib", Library()), reader))


@pytest.mark.parametrize(
    "slots",
    [
        (),
        (Slot(1, "another"), Slot(2, "third")),
        (Slot(1, error=TokenNotPresent()),),
    ],
)
def test_no_slot_is_the_reader_s(slots: tuple[Slot, ...]) -> None:
    with pytest.raises(TokenNotFound):
        tokens_in(*slots)


def test_a_card_that_the_module_does_not_understand() -> None:
    with pytest.raises(CardUnsupported):
        tokens_in(Slot(1, error=TokenNotRecognised()))


def test_slots_of_the_reader_s_name() -> None:
    found = tokens_in(Slot(1), Slot(2, "another"), Slot(3), Slot(4, error=TokenNotRecognised()))
    assert found == {1: "token 1", 3: "token 3"}


def test_a_name_longer_than_a_slot_s_description() -> None:
    assert tokens_in(Slot(1, "x" * 64), Slot(2), reader="x" * 80) == {1: "token 1"}


def test_a_single_card_under_another_name() -> None:
    assert tokens_in(Slot(1, "named by the module")) == {1: "token 1"}
