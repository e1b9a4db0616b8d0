"""Makes tokens and clears up after a provisioning run that was cut short.

The binding has no C_InitToken; it is called through the module's own function list, so that no
PIN ever stands in a program's argument list, where every user of the machine could read it.
"""

import ctypes
from pathlib import Path
from typing import cast

import pkcs11
from pkcs11 import Attribute, ObjectClass, TokenFlag

from pkcs11_bridge import objects
from pkcs11_bridge.errors import DeviceUnavailable, Misconfigured, TokenNotFound
from pkcs11_bridge.module import Module
from pkcs11_bridge.pin import Pin
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.start_lock import alone_on_module
from pkcs11_bridge.uri import Pkcs11Uri

LABEL_BYTES = 32
"""CK_TOKEN_INFO.label, padded with spaces (PKCS#11 2.40 section 5.5, C_InitToken)."""

_INIT_TOKEN_INDEX = 9
_INIT_TOKEN = ctypes.CFUNCTYPE(
    ctypes.c_ulong, ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p
)


class _FunctionList(ctypes.Structure):
    """CK_FUNCTION_LIST up to C_InitToken; functions in the order of pkcs11f.h."""

    _fields_ = (
        ("version", ctypes.c_ubyte * 2),
        ("functions", ctypes.c_void_p * (_INIT_TOKEN_INDEX + 1)),
    )


def ensure_token(
    module_path: Path, label: str, *, so_pin: Pin, user_pin: Pin, lock_directory: Path
) -> bool:
    """Make a token with a label and a user PIN, or finish one that was begun.

    Args:
        module_path: The PKCS#11 module; its environment is the caller's to set before.
        label: Of the token, at most 32 bytes.
        so_pin: Security officer's PIN, of a new or an unfinished token.
        user_pin: The PIN the token gets if it has none.
        lock_directory: Where processes that start on the module meet (latch directory).

    Returns:
        Whether anything was done.

    Raises:
        Misconfigured: The label is empty or too long.
        TokenNotFound: No slot is free, or the new token does not show.
        DeviceUnavailable: The module refused.
        TokenError: As ``TokenSessions.open``.
    """
    padded = label.encode("utf-8").ljust(LABEL_BYTES)
    if not label or len(padded) != LABEL_BYTES:
        raise Misconfigured("a token's label has 1 to 32 bytes")
    with alone_on_module(module_path, lock_directory) as module:
        done = False
        try:
            token = objects.find_token(module.library, Pkcs11Uri(token=label))
        except TokenNotFound:
            _init_token(module, _free_slot(module), so_pin, padded)
            token = objects.find_token(module.library, Pkcs11Uri(token=label))
            done = True
        if not token.flags & TokenFlag.USER_PIN_INITIALIZED:
            with token.open(rw=True, so_pin=so_pin.reveal()) as session:
                session.init_pin(user_pin.reveal())
            done = True
        return done


def remove_key_remains(sessions: TokenSessions, label: str) -> int:
    """Remove halves of key pairs with a label that have no other half.

    A key generation that was cut short leaves one half behind. Whole pairs are not touched.

    Returns:
        How many objects were removed.
    """
    removed = 0
    with sessions.writing_session() as session:
        halves = {
            kind: _by_id(session, kind, label)
            for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
        }
        private, public = halves[ObjectClass.PRIVATE_KEY], halves[ObjectClass.PUBLIC_KEY]
        for key_id in private.keys() ^ public.keys():
            (private.get(key_id) or public[key_id]).destroy()
            removed += 1
    return removed


def _free_slot(module: Module) -> pkcs11.Slot:
    for slot in module.library.get_slots(token_present=True):
        if not slot.get_token().flags & TokenFlag.TOKEN_INITIALIZED:
            return slot
    raise TokenNotFound("the module offers no slot for a new token")


def _init_token(module: Module, slot: pkcs11.Slot, so_pin: Pin, padded_label: bytes) -> None:
    table = ctypes.POINTER(_FunctionList)()
    ctypes.CDLL(str(module.path)).C_GetFunctionList(ctypes.byref(table))
    init_token = _INIT_TOKEN(table.contents.functions[_INIT_TOKEN_INDEX])
    pin = so_pin.reveal().encode("utf-8")
    code = init_token(slot.slot_id, pin, len(pin), padded_label)
    if code:
        raise DeviceUnavailable(f"C_InitToken answered 0x{code:08X}")


def _by_id(session: pkcs11.Session, kind: ObjectClass, label: str) -> dict[bytes, pkcs11.Object]:
    found = session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label})
    return {bytes(cast("bytes", key[Attribute.ID])): key for key in list(found)}
