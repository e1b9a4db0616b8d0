"""Every return value of PKCS#11 2.40: its error, its group, and whether a login is lost by it."""

import pytest
from pkcs11.exceptions import PKCS11Error

from pkcs11_bridge import errors
from pkcs11_bridge.return_values import BY_CODE, RETURN_VALUES, ReturnValue, told_by
from pkcs11_bridge.translation import translated

# pkcs11t.h of PKCS#11 2.40, all but CKR_OK.
MEANING: dict[type[errors.TokenError], set[int]] = {
    errors.DeviceUnavailable: {
        *(0x01, 0x02, 0x05, 0x06, 0x30, 0x31, 0x150, 0x1A0, 0x1A1, 0x80000000),
    },
    errors.HandlesDead: {0x60, 0x82, 0x90, 0x91, 0xB0, 0xB3, 0xF0, 0x113},
    errors.LoggedOut: {0x101},
    errors.ModuleDown: {0x190},
    errors.TokenBusy: {0xB1},
    errors.CardRemoved: {0x03, 0x32, 0xE0},
    errors.CanceledAtDevice: {0x50, 0x200},
    errors.PinIncorrect: {0xA0},
    errors.PinLengthWrong: {0xA1, 0xA2},
    errors.PinLocked: {0xA4},
    errors.PinUnusable: {0xA3, 0x102, 0x1B0, 0x1B1, 0x1B8},
    errors.CardUnsupported: {0xE1},
    errors.TokenReadOnly: {0xB5, 0xE2},
    errors.TokenAlreadyOpen: {0xB6, 0xB7, 0xB8, 0x100, 0x104, 0x105},
    errors.ModuleUnusable: {0x09, 0x0A, 0x191, 0x1B6, 0x1B7},
    errors.MechanismUnsupported: {0x54, 0x62, 0x63, 0x68, 0x70, 0x71, 0x140},
    errors.CallRefused: {
        *(0x07, 0x08, 0x10, 0x11, 0x12, 0x13, 0x1B, 0x20, 0x21, 0x40, 0x41, 0x51),
        *(0x64, 0x65, 0x66, 0x67, 0x69, 0x6A, 0xB4, 0xC0, 0xC1, 0xD0, 0xD1, 0xF1, 0xF2),
        *(0x103, 0x110, 0x112, 0x114, 0x115, 0x120, 0x121, 0x130, 0x160, 0x170, 0x180),
        *(0x1B5, 0x1B9),
    },
}
LATER, PERSON, CONFIGURATION = errors.RetryLater, errors.NeedsPerson, errors.Misconfigured
GROUP_AND_LOSS: dict[type[errors.TokenError], tuple[type[errors.TokenError], bool]] = {
    errors.DeviceUnavailable: (LATER, True),
    errors.HandlesDead: (LATER, True),
    errors.LoggedOut: (LATER, True),
    errors.ModuleDown: (LATER, True),
    errors.TokenBusy: (LATER, False),
    errors.TokenHung: (LATER, False),
    errors.CardRemoved: (PERSON, True),
    errors.CanceledAtDevice: (PERSON, False),
    errors.PinIncorrect: (PERSON, False),
    errors.PinLengthWrong: (PERSON, False),
    errors.PinLocked: (PERSON, False),
    errors.PinUnusable: (PERSON, False),
    errors.CardUnsupported: (CONFIGURATION, False),
    errors.TokenReadOnly: (CONFIGURATION, False),
    errors.TokenAlreadyOpen: (CONFIGURATION, False),
    errors.ModuleUnusable: (CONFIGURATION, False),
    errors.MechanismUnsupported: (CONFIGURATION, False),
    errors.CallRefused: (CONFIGURATION, False),
    errors.KeyNotFound: (errors.KeyGone, True),
}
GROUPS = {LATER, PERSON, CONFIGURATION, errors.KeyGone}


def test_every_code_has_one_row_and_no_row_another_code() -> None:
    told = [row.code for row in RETURN_VALUES]
    assert len(told) == len(set(told)) == len(BY_CODE)
    assert set(told) == set.union(*MEANING.values())


@pytest.mark.parametrize("kind", MEANING, ids=lambda kind: kind.__name__)
def test_what_a_code_means(kind: type[errors.TokenError]) -> None:
    assert {row.code for row in RETURN_VALUES if row.ours is kind} == MEANING[kind]


@pytest.mark.parametrize("kind", GROUP_AND_LOSS, ids=lambda kind: kind.__name__)
def test_what_can_be_done_about_it(kind: type[errors.TokenError]) -> None:
    group, loses_login = GROUP_AND_LOSS[kind]
    assert {other for other in GROUPS if issubclass(kind, other)} == {group}
    assert kind.loses_login is loses_login


@pytest.mark.parametrize("row", RETURN_VALUES, ids=lambda row: row.name)
def test_the_bindings_exception_becomes_the_rows_error(row: ReturnValue) -> None:
    error = PKCS11Error(f"Unmapped error code 0x{row.code:x}") if not row.theirs else row.theirs()
    assert told_by(error) is row
    assert type(translated(error)) is row.ours
    assert isinstance(translated(error), errors.PinIncorrect) or row.name in str(translated(error))


@pytest.mark.parametrize(
    ("text", "kind", "named"),
    [
        ("Unmapped error code 0x0", errors.DeviceUnavailable, "0x00000000"),
        ("Unmapped error code 0x140", errors.MechanismUnsupported, "CURVE_NOT_SUPPORTED"),
        ("Unmapped error code 0x80001234", errors.DeviceUnavailable, "0x80001234"),
        ("Unmapped error code 0x203", errors.DeviceUnavailable, "0x00000203"),
        ("Initialisation error (not initialized). Should never see this.", errors.ModuleDown, ""),
        ("something that nobody has foreseen", errors.DeviceUnavailable, "PKCS11Error"),
    ],
)
def test_codes_for_which_the_binding_has_no_class(
    text: str, kind: type[errors.TokenError], named: str
) -> None:
    error = translated(PKCS11Error(text))
    assert type(error) is kind
    assert named in str(error)
