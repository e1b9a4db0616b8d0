"""The binding's exceptions become ours at one place, so that none leaks out."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pkcs11 import exceptions as binding

from pkcs11_bridge import errors
from pkcs11_bridge.return_values import told_by

_FOUND_BY_THE_BINDING: Mapping[type[binding.PKCS11Error], type[errors.TokenError]] = {
    binding.NoSuchKey: errors.KeyNotFound,
    binding.NoSuchToken: errors.TokenNotFound,
}
"""What the binding raises of its own accord, without a return value."""


def translated(error: binding.PKCS11Error) -> errors.TokenError:
    """Our error for one of the binding's: the row of its return value says which.

    Whatever tells no return value, or one that nobody knows, is DeviceUnavailable: everything is
    dropped and opened anew at the next call.
    """
    told = told_by(error)
    if told is None:
        kind = _FOUND_BY_THE_BINDING.get(type(error), errors.DeviceUnavailable)
        return kind(f"the binding says {type(error).__name__}")
    if told.ours is errors.PinIncorrect:
        return errors.PinIncorrect(None)
    return told.ours(f"the token answered CKR_{told.name}")


@contextmanager
def translating() -> Iterator[None]:
    """Every binding error inside leaves as one of ours, with the original as its cause."""
    try:
        yield
    except binding.PKCS11Error as e:
        raise translated(e) from e
