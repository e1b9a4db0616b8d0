"""What can go wrong with a token, grouped by what the caller can do about it.

RetryLater    the same call may succeed a moment later
NeedsPerson   somebody must insert, type, unblock or start something
Misconfigured no retry helps until the configuration or the token's contents change
KeyGone       the key is not there (any more)

An error that may mean that the login is dead says so (``loses_login``): sessions and keys are
dropped then, and opened anew at the next call.
"""

from typing import ClassVar, Self


class TokenError(Exception):
    """Root of every error that leaves this package's token code."""

    loses_login: ClassVar[bool] = False
    """Whether sessions, login and key handles are dropped when a token's call ends in it."""

    def bare(self) -> Self:
        """The same error without what led to it: the frames of a failed login hold a PIN."""
        bare = type(self).__new__(type(self), *self.args)
        bare.__dict__.update(self.__dict__)
        return bare


class RetryLater(TokenError):
    """Trying again later can help."""


class NeedsPerson(TokenError):
    """A person must do something first."""


class Misconfigured(TokenError):
    """The configuration or the token's contents must change first."""


class KeyGone(TokenError):
    """The key cannot be found on the token."""

    # A key that vanished may mean that the token logged us out unasked.
    loses_login = True


class KeyNotFound(KeyGone):
    """No key, or no public half of it, matches."""


class TokenBusy(RetryLater):
    """Every session is in use, or another process holds the start lock."""


class TokenHung(RetryLater):
    """A call into the module does not return; its session is given up until it does."""


class DeviceUnavailable(RetryLater):
    """The token or its driver failed; sessions are opened anew at the next call."""

    loses_login = True


class HandlesDead(DeviceUnavailable):
    """Sessions or objects are not known any more: closed, or the module was initialised anew."""


class LoggedOut(DeviceUnavailable):
    """The token has ended the login, or somebody in this process has."""


class ModuleDown(DeviceUnavailable):
    """Somebody in this process finalised the module."""


class PinIncorrect(NeedsPerson):
    """The token refused the PIN."""

    def __init__(self, tries_left: int | None) -> None:
        told = "an unknown number of" if tries_left is None else str(tries_left)
        super().__init__(f"the PIN is wrong; {told} tries left")
        self.tries_left = tries_left
        """Tries left as the token tells it; None when it does not tell."""


class PinLengthWrong(NeedsPerson):
    """The PIN is shorter or longer than the token allows; no try was spent."""


class PinLocked(NeedsPerson):
    """The token accepts no PIN any more until it is unblocked."""


class PinUnusable(NeedsPerson):
    """The token has no user PIN yet, or it has expired."""


class PinLatched(NeedsPerson):
    """This PIN was or may have been refused; it is not tried again until its source changes."""


class NoReader(NeedsPerson):
    """No card reader is connected."""


class NoCard(NeedsPerson):
    """Readers are there, none holds a card."""


class CardRemoved(NeedsPerson):
    """The card or token was taken out."""

    loses_login = True


class CanceledAtDevice(NeedsPerson):
    """Somebody said no at the device, or did not answer it in time."""


class CardMute(NeedsPerson):
    """A card is in the reader and does not answer."""


class ReaderServiceDown(NeedsPerson):
    """The PC/SC service does not answer."""


class ModuleUnusable(Misconfigured):
    """The PKCS#11 module cannot be loaded or initialised."""


class TokenNotFound(Misconfigured):
    """No token matches."""


class TokenAmbiguous(Misconfigured):
    """Several tokens match; exactly one must."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} tokens match; exactly one must")
        self.count = count


class TokenAlreadyOpen(Misconfigured):
    """This process has the token open already: a login belongs to the whole process."""


class TokenReadOnly(Misconfigured):
    """The token cannot be written."""


class CardUnsupported(Misconfigured):
    """The module does not understand this card."""


class CardProfilesInvalid(Misconfigured):
    """The table that says which module speaks to which card cannot be relied on."""


class KeyAmbiguous(Misconfigured):
    """Several keys match; exactly one must."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} keys match; exactly one must")
        self.count = count


class KeyMismatch(Misconfigured):
    """Tokens of one cluster hold different keys of the same name."""


class KeyExists(Misconfigured):
    """A key of this label is there already."""


class KeyUnsupported(Misconfigured):
    """The key is of a type, size or curve that is not used here, or not with its token."""


class MechanismUnsupported(Misconfigured):
    """The token or the key cannot do this operation."""


class CallRefused(Misconfigured):
    """The token does not take the call as it was made: the same call is refused again."""


class ExtractableKey(Misconfigured):
    """The private key can leave the token, or once could."""

    def __init__(self, attribute: str) -> None:
        super().__init__(f"the private key is refused: {attribute}")
        self.attribute = attribute


class KeyNotLocal(Misconfigured):
    """The token does not say of a key that it was made in it."""


class KeyRetiredOnToken(Misconfigured):
    """The key was marked as retired: its token lets it sign nothing."""


class CertificateOfAnotherKey(Misconfigured):
    """The certificate is not of the key that it is meant for."""


class MarkRefused(Misconfigured):
    """The token does not let a key be marked as retired; the settings alone say it."""


class UnsafePinSource(Misconfigured):
    """The PIN file can be read by others, belongs to another user, or is not a plain file."""


class PinSourceUnreadable(Misconfigured):
    """The PIN cannot be read from its source."""


class ForkedProcess(Misconfigured):
    """The module was loaded before this process was forked; load it after the fork."""


class UriInvalid(Misconfigured):
    """The text is not a PKCS#11 URI that selects what is asked for."""


class SessionsClosed(Misconfigured):
    """The sessions were closed for good."""
