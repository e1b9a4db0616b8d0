"""Every return value of PKCS#11 2.40 (section 3.6, pkcs11t.h): what it means for whoever called.

One row for each: the code, its name without CKR_, the exception in which the binding tells it
(None where it raises its root class with a text), and our error, whose class says what can be
done about it and whether everything must be opened anew.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pkcs11 import exceptions as binding

from pkcs11_bridge import errors


@dataclass(frozen=True, slots=True)
class ReturnValue:
    """One row.

    Attributes:
        code: CK_RV.
        name: without CKR_.
        theirs: the binding's exception for it, None for its root class.
        ours: our error for it.
    """

    code: int
    name: str
    theirs: type[binding.PKCS11Error] | None
    ours: type[errors.TokenError]


RETURN_VALUES: tuple[ReturnValue, ...] = (
    ReturnValue(0x001, "CANCEL", None, errors.DeviceUnavailable),
    ReturnValue(0x002, "HOST_MEMORY", binding.HostMemory, errors.DeviceUnavailable),
    ReturnValue(0x003, "SLOT_ID_INVALID", binding.SlotIDInvalid, errors.CardRemoved),
    ReturnValue(0x005, "GENERAL_ERROR", binding.GeneralError, errors.DeviceUnavailable),
    ReturnValue(0x006, "FUNCTION_FAILED", binding.FunctionFailed, errors.DeviceUnavailable),
    ReturnValue(0x007, "ARGUMENTS_BAD", binding.ArgumentsBad, errors.CallRefused),
    ReturnValue(0x008, "NO_EVENT", binding.NoEvent, errors.CallRefused),
    ReturnValue(0x009, "NEED_TO_CREATE_THREADS", None, errors.ModuleUnusable),
    ReturnValue(0x00A, "CANT_LOCK", None, errors.ModuleUnusable),
    ReturnValue(0x010, "ATTRIBUTE_READ_ONLY", binding.AttributeReadOnly, errors.CallRefused),
    ReturnValue(0x011, "ATTRIBUTE_SENSITIVE", binding.AttributeSensitive, errors.CallRefused),
    ReturnValue(0x012, "ATTRIBUTE_TYPE_INVALID", binding.AttributeTypeInvalid, errors.CallRefused),
    ReturnValue(
        0x013, "ATTRIBUTE_VALUE_INVALID", binding.AttributeValueInvalid, errors.CallRefused
    ),
    ReturnValue(0x01B, "ACTION_PROHIBITED", None, errors.CallRefused),
    ReturnValue(0x020, "DATA_INVALID", binding.DataInvalid, errors.CallRefused),
    ReturnValue(0x021, "DATA_LEN_RANGE", binding.DataLenRange, errors.CallRefused),
    ReturnValue(0x030, "DEVICE_ERROR", binding.DeviceError, errors.DeviceUnavailable),
    ReturnValue(0x031, "DEVICE_MEMORY", binding.DeviceMemory, errors.DeviceUnavailable),
    ReturnValue(0x032, "DEVICE_REMOVED", binding.DeviceRemoved, errors.CardRemoved),
    ReturnValue(0x040, "ENCRYPTED_DATA_INVALID", binding.EncryptedDataInvalid, errors.CallRefused),
    ReturnValue(
        0x041, "ENCRYPTED_DATA_LEN_RANGE", binding.EncryptedDataLenRange, errors.CallRefused
    ),
    ReturnValue(0x050, "FUNCTION_CANCELED", binding.FunctionCancelled, errors.CanceledAtDevice),
    ReturnValue(0x051, "FUNCTION_NOT_PARALLEL", None, errors.CallRefused),
    ReturnValue(
        0x054, "FUNCTION_NOT_SUPPORTED", binding.FunctionNotSupported, errors.MechanismUnsupported
    ),
    ReturnValue(0x060, "KEY_HANDLE_INVALID", binding.KeyHandleInvalid, errors.HandlesDead),
    ReturnValue(0x062, "KEY_SIZE_RANGE", binding.KeySizeRange, errors.MechanismUnsupported),
    ReturnValue(
        0x063, "KEY_TYPE_INCONSISTENT", binding.KeyTypeInconsistent, errors.MechanismUnsupported
    ),
    ReturnValue(0x064, "KEY_NOT_NEEDED", binding.KeyNotNeeded, errors.CallRefused),
    ReturnValue(0x065, "KEY_CHANGED", None, errors.CallRefused),
    ReturnValue(0x066, "KEY_NEEDED", binding.KeyNeeded, errors.CallRefused),
    ReturnValue(0x067, "KEY_INDIGESTIBLE", binding.KeyIndigestible, errors.CallRefused),
    ReturnValue(0x068, "KEY_FUNCTION_NOT_PERMITTED", None, errors.MechanismUnsupported),
    ReturnValue(0x069, "KEY_NOT_WRAPPABLE", binding.KeyNotWrappable, errors.CallRefused),
    ReturnValue(0x06A, "KEY_UNEXTRACTABLE", binding.KeyUnextractable, errors.CallRefused),
    ReturnValue(0x070, "MECHANISM_INVALID", binding.MechanismInvalid, errors.MechanismUnsupported),
    ReturnValue(
        0x071, "MECHANISM_PARAM_INVALID", binding.MechanismParamInvalid, errors.MechanismUnsupported
    ),
    ReturnValue(0x082, "OBJECT_HANDLE_INVALID", binding.ObjectHandleInvalid, errors.HandlesDead),
    ReturnValue(0x090, "OPERATION_ACTIVE", binding.OperationActive, errors.HandlesDead),
    ReturnValue(
        0x091, "OPERATION_NOT_INITIALIZED", binding.OperationNotInitialized, errors.HandlesDead
    ),
    ReturnValue(0x0A0, "PIN_INCORRECT", binding.PinIncorrect, errors.PinIncorrect),
    ReturnValue(0x0A1, "PIN_INVALID", binding.PinInvalid, errors.PinLengthWrong),
    ReturnValue(0x0A2, "PIN_LEN_RANGE", binding.PinLenRange, errors.PinLengthWrong),
    ReturnValue(0x0A3, "PIN_EXPIRED", binding.PinExpired, errors.PinUnusable),
    ReturnValue(0x0A4, "PIN_LOCKED", binding.PinLocked, errors.PinLocked),
    ReturnValue(0x0B0, "SESSION_CLOSED", binding.SessionClosed, errors.HandlesDead),
    ReturnValue(0x0B1, "SESSION_COUNT", binding.SessionCount, errors.TokenBusy),
    ReturnValue(0x0B3, "SESSION_HANDLE_INVALID", binding.SessionHandleInvalid, errors.HandlesDead),
    ReturnValue(0x0B4, "SESSION_PARALLEL_NOT_SUPPORTED", None, errors.CallRefused),
    ReturnValue(0x0B5, "SESSION_READ_ONLY", binding.SessionReadOnly, errors.TokenReadOnly),
    ReturnValue(0x0B6, "SESSION_EXISTS", binding.SessionExists, errors.TokenAlreadyOpen),
    ReturnValue(
        0x0B7, "SESSION_READ_ONLY_EXISTS", binding.SessionReadOnlyExists, errors.TokenAlreadyOpen
    ),
    ReturnValue(
        0x0B8,
        "SESSION_READ_WRITE_SO_EXISTS",
        binding.SessionReadWriteSOExists,
        errors.TokenAlreadyOpen,
    ),
    ReturnValue(0x0C0, "SIGNATURE_INVALID", binding.SignatureInvalid, errors.CallRefused),
    ReturnValue(0x0C1, "SIGNATURE_LEN_RANGE", binding.SignatureLenRange, errors.CallRefused),
    ReturnValue(0x0D0, "TEMPLATE_INCOMPLETE", binding.TemplateIncomplete, errors.CallRefused),
    ReturnValue(0x0D1, "TEMPLATE_INCONSISTENT", binding.TemplateInconsistent, errors.CallRefused),
    ReturnValue(0x0E0, "TOKEN_NOT_PRESENT", binding.TokenNotPresent, errors.CardRemoved),
    ReturnValue(0x0E1, "TOKEN_NOT_RECOGNIZED", binding.TokenNotRecognised, errors.CardUnsupported),
    ReturnValue(0x0E2, "TOKEN_WRITE_PROTECTED", binding.TokenWriteProtected, errors.TokenReadOnly),
    ReturnValue(
        0x0F0,
        "UNWRAPPING_KEY_HANDLE_INVALID",
        binding.UnwrappingKeyHandleInvalid,
        errors.HandlesDead,
    ),
    ReturnValue(
        0x0F1, "UNWRAPPING_KEY_SIZE_RANGE", binding.UnwrappingKeySizeRange, errors.CallRefused
    ),
    ReturnValue(
        0x0F2,
        "UNWRAPPING_KEY_TYPE_INCONSISTENT",
        binding.UnwrappingKeyTypeInconsistent,
        errors.CallRefused,
    ),
    ReturnValue(
        0x100, "USER_ALREADY_LOGGED_IN", binding.UserAlreadyLoggedIn, errors.TokenAlreadyOpen
    ),
    ReturnValue(0x101, "USER_NOT_LOGGED_IN", binding.UserNotLoggedIn, errors.LoggedOut),
    ReturnValue(
        0x102, "USER_PIN_NOT_INITIALIZED", binding.UserPinNotInitialized, errors.PinUnusable
    ),
    ReturnValue(0x103, "USER_TYPE_INVALID", None, errors.CallRefused),
    ReturnValue(
        0x104,
        "USER_ANOTHER_ALREADY_LOGGED_IN",
        binding.AnotherUserAlreadyLoggedIn,
        errors.TokenAlreadyOpen,
    ),
    ReturnValue(0x105, "USER_TOO_MANY_TYPES", binding.UserTooManyTypes, errors.TokenAlreadyOpen),
    ReturnValue(0x110, "WRAPPED_KEY_INVALID", binding.WrappedKeyInvalid, errors.CallRefused),
    ReturnValue(0x112, "WRAPPED_KEY_LEN_RANGE", binding.WrappedKeyLenRange, errors.CallRefused),
    ReturnValue(
        0x113, "WRAPPING_KEY_HANDLE_INVALID", binding.WrappingKeyHandleInvalid, errors.HandlesDead
    ),
    ReturnValue(0x114, "WRAPPING_KEY_SIZE_RANGE", binding.WrappingKeySizeRange, errors.CallRefused),
    ReturnValue(
        0x115,
        "WRAPPING_KEY_TYPE_INCONSISTENT",
        binding.WrappingKeyTypeInconsistent,
        errors.CallRefused,
    ),
    ReturnValue(
        0x120, "RANDOM_SEED_NOT_SUPPORTED", binding.RandomSeedNotSupported, errors.CallRefused
    ),
    ReturnValue(0x121, "RANDOM_NO_RNG", binding.RandomNoRNG, errors.CallRefused),
    ReturnValue(0x130, "DOMAIN_PARAMS_INVALID", binding.DomainParamsInvalid, errors.CallRefused),
    ReturnValue(0x140, "CURVE_NOT_SUPPORTED", None, errors.MechanismUnsupported),
    ReturnValue(0x150, "BUFFER_TOO_SMALL", None, errors.DeviceUnavailable),
    ReturnValue(0x160, "SAVED_STATE_INVALID", None, errors.CallRefused),
    ReturnValue(0x170, "INFORMATION_SENSITIVE", None, errors.CallRefused),
    ReturnValue(0x180, "STATE_UNSAVEABLE", None, errors.CallRefused),
    ReturnValue(0x190, "CRYPTOKI_NOT_INITIALIZED", None, errors.ModuleDown),
    ReturnValue(0x191, "CRYPTOKI_ALREADY_INITIALIZED", None, errors.ModuleUnusable),
    ReturnValue(0x1A0, "MUTEX_BAD", None, errors.DeviceUnavailable),
    ReturnValue(0x1A1, "MUTEX_NOT_LOCKED", None, errors.DeviceUnavailable),
    ReturnValue(0x1B0, "NEW_PIN_MODE", None, errors.PinUnusable),
    ReturnValue(0x1B1, "NEXT_OTP", None, errors.PinUnusable),
    ReturnValue(
        0x1B5, "EXCEEDED_MAX_ITERATIONS", binding.ExceededMaxIterations, errors.CallRefused
    ),
    ReturnValue(0x1B6, "FIPS_SELF_TEST_FAILED", None, errors.ModuleUnusable),
    ReturnValue(0x1B7, "LIBRARY_LOAD_FAILED", None, errors.ModuleUnusable),
    ReturnValue(0x1B8, "PIN_TOO_WEAK", binding.PinTooWeak, errors.PinUnusable),
    ReturnValue(0x1B9, "PUBLIC_KEY_INVALID", binding.PublicKeyInvalid, errors.CallRefused),
    ReturnValue(0x200, "FUNCTION_REJECTED", binding.FunctionRejected, errors.CanceledAtDevice),
    ReturnValue(0x80000000, "VENDOR_DEFINED", None, errors.DeviceUnavailable),
)

BY_CODE: Mapping[int, ReturnValue] = {row.code: row for row in RETURN_VALUES}
_BY_EXCEPTION = {row.theirs: row for row in RETURN_VALUES if row.theirs is not None}

# How the binding words the codes for which it has no class of its own.
_UNMAPPED = re.compile(r"Unmapped error code 0x([0-9a-f]+)")
_WORDED = {
    "Buffer was too small": 0x150,
    "Initialisation error (already initialized)": 0x191,
    "Initialisation error (not initialized)": 0x190,
    "Parallel not supported": 0x0B4,
    "User type invalid": 0x103,
}


def told_by(error: binding.PKCS11Error) -> ReturnValue | None:
    """The row of the return value that a binding error tells; None for another failure.

    A code that the standard does not have (a vendor's own, above 0x80000000, or a later
    version's) is told under its number, as a failure of the device.
    """
    row = _BY_EXCEPTION.get(type(error))
    if row is not None or type(error) is not binding.PKCS11Error:
        return row
    text = str(error)
    unmapped = _UNMAPPED.match(text)
    if unmapped is not None:
        code = int(unmapped[1], 16)
        unknown = ReturnValue(code, f"0x{code:08X}", None, errors.DeviceUnavailable)
        return BY_CODE.get(code, unknown)
    return next((BY_CODE[code] for words, code in _WORDED.items() if text.startswith(words)), None)
