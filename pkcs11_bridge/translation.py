"""The binding's exceptions become ours at one place, so that none leaks out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pkcs11 import exceptions as binding

from pkcs11_bridge import errors

_ERRORS: Mapping[type[binding.PKCS11Error], type[errors.TokenError]] = {
    binding.PinLenRange: errors.PinLengthWrong,
    binding.PinInvalid: errors.PinLengthWrong,
    binding.PinLocked: errors.PinLocked,
    binding.PinExpired: errors.PinUnusable,
    binding.UserPinNotInitialized: errors.PinUnusable,
    binding.DeviceRemoved: errors.CardRemoved,
    binding.TokenNotPresent: errors.CardRemoved,
    binding.SlotIDInvalid: errors.CardRemoved,
    binding.TokenNotRecognised: errors.CardUnsupported,
    binding.TokenWriteProtected: errors.TokenReadOnly,
    binding.SessionReadOnly: errors.TokenReadOnly,
    binding.SessionCount: errors.TokenBusy,
    binding.UserAlreadyLoggedIn: errors.TokenAlreadyOpen,
    binding.AnotherUserAlreadyLoggedIn: errors.TokenAlreadyOpen,
    binding.MechanismInvalid: errors.MechanismUnsupported,
    binding.MechanismParamInvalid: errors.MechanismUnsupported,
    binding.FunctionNotSupported: errors.MechanismUnsupported,
    binding.KeyTypeInconsistent: errors.MechanismUnsupported,
    binding.NoSuchKey: errors.KeyNotFound,
    binding.NoSuchToken: errors.TokenNotFound,
}


def translated(error: binding.PKCS11Error) -> errors.TokenError:
    """Our error for one of the binding's.

    Whatever is not in the table (general, device and memory errors, dead handles) is
    DeviceUnavailable: everything is dropped and opened anew at the next call.
    """
    if isinstance(error, binding.PinIncorrect):
        return errors.PinIncorrect(None)
    name = type(error).__name__
    return _ERRORS.get(type(error), errors.DeviceUnavailable)(f"the token answered {name}")


@contextmanager
def translating() -> Iterator[None]:
    """Every binding error inside leaves as one of ours, with the original as its cause."""
    try:
        yield
    except binding.PKCS11Error as e:
        raise translated(e) from e
