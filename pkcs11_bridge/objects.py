"""Finds tokens, keys and certificates: exactly one, or an error with the count."""

from collections.abc import Mapping
from dataclasses import dataclass

import pkcs11
import pkcs11._pkcs11
from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import PKCS11Error, TokenNotPresent, TokenNotRecognised

from pkcs11_bridge.errors import (
    ExtractableKey,
    KeyAmbiguous,
    KeyNotFound,
    PinIncorrect,
    TokenAmbiguous,
    TokenNotFound,
    UriInvalid,
)
from pkcs11_bridge.pin import tries_left
from pkcs11_bridge.uri import Pkcs11Uri

# ykcs11: COUNT_LOW after the first of three wrong PINs, FINAL_TRY after the second
_COUNT_LOW_MEANS_TWO = frozenset({"PKCS#11 PIV Library (SP-800-73)"})

# PKCS#11 2.40 section 4.9: what a key that was born in the token and cannot leave it must say
_REQUIRED: Mapping[Attribute, bool] = {
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.ALWAYS_SENSITIVE: True,
    Attribute.NEVER_EXTRACTABLE: True,
}


@dataclass(frozen=True, slots=True)
class TokenCertificate:
    """A certificate as the token stores it, not judged in any way."""

    slot_id: int
    id: bytes
    label: str
    unverified_der: bytes


def find_token(library: pkcs11._pkcs11.lib, uri: Pkcs11Uri) -> pkcs11.Token:
    """The one present token that the URI's label and serial number select.

    Raises:
        TokenNotFound, TokenAmbiguous: none, or several.
    """
    found = []
    for slot in library.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except (TokenNotPresent, TokenNotRecognised):
            continue
        if uri.token in (None, token.label) and uri.serial in (None, serial_of(token)):
            found.append(token)
    if not found:
        raise TokenNotFound(f"no token is {uri}")
    if len(found) > 1:
        raise TokenAmbiguous(len(found))
    return found[0]


def serial_of(token: pkcs11.Token) -> str:
    """CK_TOKEN_INFO.serialNumber as text."""
    return token.serial.rstrip(b"\0 ").decode("utf-8", errors="replace")


def pin_tries_left(token: pkcs11.Token, library_description: str) -> int | None:
    """PIN tries left by the token's flags, read anew; None for unknown."""
    flags = int(token.slot.get_token().flags)
    return tries_left(flags, count_low_means_two=library_description in _COUNT_LOW_MEANS_TWO)


def pin_refusal(token: pkcs11.Token, library_description: str) -> PinIncorrect:
    """The error for a PIN that the token has just refused, with the tries left if it tells."""
    try:
        tries = pin_tries_left(token, library_description)
    except PKCS11Error:
        # Gone or broken since: that must not hide that the PIN was wrong.
        tries = None
    return PinIncorrect(tries)


def find_private_key(session: pkcs11.Session, uri: Pkcs11Uri) -> pkcs11.Object:
    """The one private key that the URI's object label and id select.

    Raises:
        UriInvalid: neither label nor id, or another object type.
        KeyNotFound, KeyAmbiguous: none, or several.
    """
    if uri.object is None and uri.id is None:
        raise UriInvalid("a key is selected by its label, its id or both")
    if uri.type not in (None, "private"):
        raise UriInvalid("a signing key is a private key")
    return _exactly_one(session, ObjectClass.PRIVATE_KEY, _selection(uri))


def find_public_half(session: pkcs11.Session, private_key: pkcs11.Object) -> pkcs11.Object:
    """The one public key of the same CKA_ID and key type.

    Raises:
        KeyNotFound, KeyAmbiguous: none, or several.
    """
    selection = private_key.get_attributes([Attribute.ID, Attribute.KEY_TYPE])
    return _exactly_one(session, ObjectClass.PUBLIC_KEY, selection)


def require_unextractable(private_key: pkcs11.Object) -> None:
    """Refuse a key that can leave the token or ever could, and one that does not say so.

    Raises:
        ExtractableKey: with the attribute that is wrong or missing.
    """
    for attribute, required in _REQUIRED.items():
        try:
            value = private_key[attribute]
        except PKCS11Error as e:
            raise ExtractableKey(f"{attribute.name} cannot be read") from e
        if value is not required:
            raise ExtractableKey(f"{attribute.name} is {value}")


def certificates(session: pkcs11.Session) -> tuple[TokenCertificate, ...]:
    """Every X.509 certificate on the token, in the token's order."""
    found = session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE})
    return tuple(
        TokenCertificate(
            slot_id=session.token.slot.slot_id,
            id=bytes(certificate[Attribute.ID]),
            label=str(certificate[Attribute.LABEL]),
            unverified_der=bytes(certificate[Attribute.VALUE]),
        )
        for certificate in list(found)
    )


def label_is_taken(session: pkcs11.Session, label: str) -> bool:
    """Whether any key, private or public, has this label."""
    return any(
        list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label}))
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
    )


def _selection(uri: Pkcs11Uri) -> dict[Attribute, object]:
    selection: dict[Attribute, object] = {}
    if uri.object is not None:
        selection[Attribute.LABEL] = uri.object
    if uri.id is not None:
        selection[Attribute.ID] = uri.id
    return selection


def _exactly_one(
    session: pkcs11.Session, kind: ObjectClass, selection: Mapping[Attribute, object]
) -> pkcs11.Object:
    # The whole list: an unfinished search would leave the session in the middle of an operation.
    found = list(session.get_objects({Attribute.CLASS: kind, **selection}))
    if not found:
        raise KeyNotFound(f"no {kind.name.lower().replace('_', ' ')} matches")
    if len(found) > 1:
        raise KeyAmbiguous(len(found))
    return found[0]
