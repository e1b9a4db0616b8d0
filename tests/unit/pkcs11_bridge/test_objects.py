"""What a token's objects must say; tokens of a kind that is not at hand are played."""

from dataclasses import dataclass
from typing import Any, cast

import pkcs11._pkcs11
import pytest
from pkcs11 import Attribute, Object
from pkcs11.exceptions import (
    AttributeTypeInvalid,
    DeviceRemoved,
    TokenNotPresent,
    TokenNotRecognised,
)

from pkcs11_bridge.errors import ExtractableKey, TokenAmbiguous, TokenNotFound
from pkcs11_bridge.objects import find_token, pin_refusal, pin_tries_left, require_unextractable
from pkcs11_bridge.uri import Pkcs11Uri

SAFE = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.NEVER_EXTRACTABLE: True,
}


class Key(dict[Attribute, Any]):
    def __missing__(self, attribute: Attribute) -> Any:
        raise AttributeTypeInvalid


@pytest.mark.parametrize("attribute", list(SAFE))
def test_each_attribute_counts(attribute: Attribute) -> None:
    with pytest.raises(ExtractableKey) as caught:
        require_unextractable(cast("Object", Key(SAFE | {attribute: not SAFE[attribute]})))
    assert caught.value.attribute == f"{attribute.name} is {not SAFE[attribute]}"


@pytest.mark.parametrize("attribute", list(SAFE))
def test_a_key_that_does_not_say_is_refused(attribute: Attribute) -> None:
    says = {known: value for known, value in SAFE.items() if known is not attribute}
    with pytest.raises(ExtractableKey) as caught:
        require_unextractable(cast("Object", Key(says)))
    assert caught.value.attribute == f"{attribute.name} cannot be read"


def test_a_key_that_cannot_leave() -> None:
    require_unextractable(cast("Object", Key(SAFE)))


@dataclass
class Token:
    label: str
    serial: bytes
    flags: int = 0
    error: Exception | None = None

    def get_token(self) -> "Token":
        if self.error is not None:
            raise self.error
        return self

    @property
    def slot(self) -> "Token":
        return self


def find(uri: Pkcs11Uri, *tokens: Token) -> Token:
    class Library:
        def get_slots(self, token_present: bool) -> list[Token]:
            return list(tokens)

    return cast("Token", find_token(cast("pkcs11._pkcs11.lib", Library()), uri))


def test_tokens_that_cannot_be_asked_are_passed_over() -> None:
    away, strange = TokenNotPresent(), TokenNotRecognised()
    svc = Token("svc", b"1a\0\0 ")
    others = (Token("svc", b"1a", error=away), Token("svc", b"1a", error=strange))
    assert find(Pkcs11Uri(token="svc", serial="1a"), *others, svc) is svc
    with pytest.raises(TokenNotFound):
        find(Pkcs11Uri(token="svc"), *others)


def test_exactly_one() -> None:
    first, second = Token("svc", b"1"), Token("svc", b"2")
    with pytest.raises(TokenAmbiguous):
        find(Pkcs11Uri(token="svc"), first, second)
    assert find(Pkcs11Uri(token="svc", serial="2"), first, second) is second


def test_count_low_means_two_to_one_module_alone() -> None:
    token = cast("pkcs11.Token", Token("card", b"1", flags=0x10000))
    assert pin_tries_left(token, "PKCS#11 PIV Library (SP-800-73)") == 2
    assert pin_tries_left(token, "OpenSC smartcard framework") is None


def test_a_refused_pin_is_told_with_the_tries_left() -> None:
    token = cast("pkcs11.Token", Token("card", b"1", flags=0x20000))
    assert pin_refusal(token, "OpenSC smartcard framework").tries_left == 1


def test_a_token_that_is_gone_after_a_wrong_pin_hides_nothing() -> None:
    token = cast("pkcs11.Token", Token("card", b"1", error=DeviceRemoved()))
    assert pin_refusal(token, "OpenSC smartcard framework").tries_left is None
