"""A signature whose PIN is typed on the reader's own keys, for keys that ask at each signature.

Between C_SignInit and C_Sign such a key (CKA_ALWAYS_AUTHENTICATE) wants C_Login with
CKU_CONTEXT_SPECIFIC, and a pinpad wants its PIN pointer to be NULL (PKCS#11 2.40 section 5.6). The
binding has no way to say both, so these three calls are made directly.
"""

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import pkcs11

from pkcs11_bridge.errors import (
    CanceledAtDevice,
    CardRemoved,
    DeviceUnavailable,
    PinIncorrect,
    PinLocked,
    TokenError,
)
from pkcs11_bridge.mechanisms import SigningCall

# CK_FUNCTION_LIST, PKCS#11 2.40 (pkcs11f.h): places of the functions after the version
_LOGIN, _SIGN_INIT, _SIGN, _FUNCTIONS = 18, 42, 43, 68
_CKU_CONTEXT_SPECIFIC = 2
_CKR_OK = 0x00000000
_CKR_PIN_INCORRECT = 0x000000A0
_ERRORS: Mapping[int, type[TokenError]] = {
    0x00000032: CardRemoved,  # CKR_DEVICE_REMOVED
    0x00000050: CanceledAtDevice,  # CKR_FUNCTION_CANCELED
    0x000000A4: PinLocked,  # CKR_PIN_LOCKED
    0x000000E0: CardRemoved,  # CKR_TOKEN_NOT_PRESENT
}

_Handle = ctypes.c_ulong


class _HasHandle(Protocol):
    """A session as the binding has it; its types do not tell the handle."""

    handle: int


class _FunctionList(ctypes.Structure):
    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * _FUNCTIONS))


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM without a parameter."""

    _fields_ = (
        ("mechanism", ctypes.c_ulong),
        ("pParameter", ctypes.c_void_p),
        ("ulParameterLen", ctypes.c_ulong),
    )


def sign_typing_pin_on_pad(
    module: Path, session: pkcs11.Session, key: pkcs11.Object, call: SigningCall
) -> bytes:
    """C_SignInit, C_Login without a PIN, C_Sign.

    Args:
        module: the module, loaded and initialised in this process.
        session: logged in.
        key: the private key, found in that session.
        call: of a mechanism that takes no parameter.

    Raises:
        CanceledAtDevice: also when the time for typing was over.
        PinIncorrect (tries unknown), PinLocked, CardRemoved.
        DeviceUnavailable: anything else, and a signature of another length.
    """
    table = ctypes.POINTER(_FunctionList)()
    ctypes.CDLL(str(module)).C_GetFunctionList(ctypes.byref(table))
    functions = table.contents.functions
    mechanism = _Mechanism(call.mechanism, None, 0)
    sign_init = ctypes.CFUNCTYPE(_Handle, _Handle, ctypes.c_void_p, _Handle)(functions[_SIGN_INIT])
    login = ctypes.CFUNCTYPE(_Handle, _Handle, _Handle, ctypes.c_void_p, _Handle)(functions[_LOGIN])
    sign = ctypes.CFUNCTYPE(
        _Handle, _Handle, ctypes.c_char_p, _Handle, ctypes.c_void_p, ctypes.c_void_p
    )(functions[_SIGN])
    handle, size = cast("_HasHandle", session).handle, call.signature_size
    _check(sign_init(handle, ctypes.addressof(mechanism), key.handle))
    _check(login(handle, _CKU_CONTEXT_SPECIFIC, None, 0))
    length, signature = ctypes.c_ulong(size), ctypes.create_string_buffer(size)
    output, written = ctypes.addressof(signature), ctypes.addressof(length)
    _check(sign(handle, call.data, len(call.data), output, written))
    if length.value != size:
        raise DeviceUnavailable("the token returned a signature of the wrong length")
    return signature.raw


def _check(code: int) -> None:
    if code == _CKR_OK:
        return
    if code == _CKR_PIN_INCORRECT:
        raise PinIncorrect(None)
    raise _ERRORS.get(code, DeviceUnavailable)(f"the token answered 0x{code:08X}")
