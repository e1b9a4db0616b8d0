"""No exception of the binding leaves the package."""

import inspect

import pytest
from pkcs11 import exceptions as binding

from pkcs11_bridge import errors
from pkcs11_bridge.translation import translated, translating

ALL = [
    value
    for value in vars(binding).values()
    if inspect.isclass(value) and issubclass(value, binding.PKCS11Error)
]
GROUPS = (errors.RetryLater, errors.NeedsPerson, errors.Misconfigured, errors.KeyGone)


@pytest.mark.parametrize("kind", ALL)
def test_each_becomes_one_of_ours_in_exactly_one_group(kind: type[binding.PKCS11Error]) -> None:
    ours = translated(kind())
    assert sum(isinstance(ours, group) for group in GROUPS) == 1


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (binding.PinIncorrect, errors.PinIncorrect),
        (binding.PinLenRange, errors.PinLengthWrong),
        (binding.PinLocked, errors.PinLocked),
        (binding.DeviceRemoved, errors.CardRemoved),
        (binding.MechanismInvalid, errors.MechanismUnsupported),
        (binding.GeneralError, errors.DeviceUnavailable),
        (binding.ObjectHandleInvalid, errors.HandlesDead),
        (binding.UserNotLoggedIn, errors.LoggedOut),
        (binding.UserAlreadyLoggedIn, errors.TokenAlreadyOpen),
    ],
)
def test_what_callers_rely_on(
    theirs: type[binding.PKCS11Error], ours: type[errors.TokenError]
) -> None:
    with pytest.raises(ours) as caught, translating():
        raise theirs
    assert type(caught.value) is ours
    assert isinstance(caught.value.__cause__, theirs)


def test_a_pin_error_does_not_invent_tries() -> None:
    error = translated(binding.PinIncorrect())
    assert isinstance(error, errors.PinIncorrect)
    assert error.tries_left is None
    assert "unknown" in str(error)


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError), translating():
        raise ZeroDivisionError
