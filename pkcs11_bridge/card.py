"""A person's card for the length of one login: found by its reader, left closed behind us.

Unlike a service token it is opened for one purpose, asked for one signature, and let go with
C_Logout and C_Finalize whatever happened: with a verified PIN left behind, every other program on
the computer could sign.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pkcs11
import pkcs11._pkcs11
from pkcs11 import Attribute, TokenFlag
from pkcs11.exceptions import (
    FunctionCancelled,
    PKCS11Error,
    TokenNotPresent,
    TokenNotRecognised,
)

from pkcs11_bridge import mechanisms, objects, pin_pad
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.errors import (
    CanceledAtDevice,
    CardUnsupported,
    PinIncorrect,
    TokenError,
    TokenNotFound,
)
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.module import Module, OneThreadLibrary, load_module
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.pin import Pin, PinpadEntry
from pkcs11_bridge.sign_counts import count_signature
from pkcs11_bridge.translation import translating
from pkcs11_bridge.uri import Pkcs11Uri

_WAIT_SECONDS = 30.0
_SLOT_DESCRIPTION_LENGTH = 64  # CK_SLOT_INFO.slotDescription, PKCS#11 2.40 section 3.2


class CardSession:
    """One card through one module, made by ``open_card``.

    A card with several PINs shows as several tokens in one reader; certificates say by
    ``slot_id`` which one they belong to.
    """

    def __init__(self, module: Module, tokens: dict[int, pkcs11.Token]) -> None:
        self._module = module
        self._tokens = tokens
        self._logins: dict[int, pkcs11.Session] = {}
        self._pins: dict[int, Pin] = {}

    def certificates(self) -> tuple[TokenCertificate, ...]:
        """Every certificate on the card; no PIN is needed.

        Raises:
            CardRemoved, DeviceUnavailable.
        """
        found: list[TokenCertificate] = []
        with translating():
            for token in self._tokens.values():
                session = token.open()
                found.extend(objects.certificates(session))
                session.close()
        return tuple(found)

    def slot_ids(self) -> tuple[int, ...]:
        """The card's tokens, one for each of its PINs."""
        return tuple(self._tokens)

    def tries_left(self, slot_id: int) -> int | None:
        """PIN tries left as the module tells it, None for unknown."""
        with translating():
            return objects.pin_tries_left(self._tokens[slot_id], self._module.description)

    def has_pin_pad(self, slot_id: int) -> bool:
        """Whether the PIN is typed on the reader (CKF_PROTECTED_AUTHENTICATION_PATH)."""
        return bool(TokenFlag.PROTECTED_AUTHENTICATION_PATH & self._tokens[slot_id].flags)

    def login(self, slot_id: int, pin: Pin) -> None:
        """C_Login, once.

        Args:
            slot_id: of the token that the certificate belongs to.
            pin: a ``PinpadEntry`` where the PIN is typed on the reader.

        Raises:
            PinIncorrect: with the tries left as the module tells it.
            PinLengthWrong, PinLocked, PinUnusable, CardRemoved, DeviceUnavailable.
            CanceledAtDevice: on the reader, by the person or by its time limit.
            Misconfigured: a ``PinpadEntry``, and the reader has no keys.
        """
        token = self._tokens[slot_id]
        argument = pin.login_argument(int(token.flags))
        try:
            with translating():
                self._logins[slot_id] = token.open(user_pin=argument)
        except PinIncorrect as e:
            raise objects.pin_refusal(token, self._module.description) from e
        except TokenError as e:
            if isinstance(e.__cause__, FunctionCancelled):
                raise CanceledAtDevice("typing the PIN on the reader was cancelled") from e
            raise
        self._pins[slot_id] = pin

    def sign_digest(
        self, certificate: TokenCertificate, algorithm: KeyAlgorithm, digest: bytes, hash_: HashName
    ) -> bytes:
        """Sign with the certificate's key (same CKA_ID), after ``login``.

        Returns:
            As ``TokenKey.sign_digest``.

        Raises:
            KeyNotFound, KeyAmbiguous, ExtractableKey, MechanismUnsupported.
            CardRemoved, DeviceUnavailable.
            PinIncorrect, PinLocked, CanceledAtDevice: at a key that asks again.
        """
        call = mechanisms.digest_signing(algorithm, digest, hash_)
        with translating():
            session = self._logins[certificate.slot_id]
            key = objects.find_private_key(session, Pkcs11Uri(id=certificate.id))
            objects.require_unextractable(key)
            # Such a key (PIV 9C) asks for the PIN at each signature.
            again = self._pins[certificate.slot_id] if key[Attribute.ALWAYS_AUTHENTICATE] else None
            if isinstance(again, PinpadEntry):
                signature = pin_pad.sign_typing_pin_on_pad(self._module.path, session, key, call)
            else:
                signature = mechanisms.sign_once(key, call, again)
        count_signature(self._module.path, session.token.label)
        return signature

    def close(self) -> None:
        """C_Logout and C_CloseSession; a card that is gone is no error."""
        for session in self._logins.values():
            with suppress(PKCS11Error):
                session.close()
        self._logins.clear()
        self._pins.clear()


@contextmanager
def open_card(module_path: Path, reader_name: str) -> Iterator[CardSession]:
    """The card in a PC/SC reader, through a PKCS#11 module; closed on every way out.

    The module is held alone for all that time, and finalised at the end if nobody else in the
    process uses it.

    Raises:
        ModuleUnusable, ForkedProcess: the module.
        TokenNotFound: the module does not see this reader's card.
        CardUnsupported: it sees a card that it does not understand.
        CardRemoved, DeviceUnavailable, TokenBusy.
    """
    module = load_module(module_path, OneThreadLibrary)
    user = object()
    with module.gate.exclusive(_WAIT_SECONDS):
        try:
            module.join(user)
            with translating():
                card = CardSession(module, _tokens_in(module.library, reader_name))
            try:
                yield card
            finally:
                card.close()
        finally:
            # An error here would hide the one that matters; the caller resets the card anyway.
            with suppress(TokenError):
                module.leave(user)


def _tokens_in(library: pkcs11._pkcs11.lib, reader_name: str) -> dict[int, pkcs11.Token]:
    """The tokens of one reader.

    Modules name their slots after the PC/SC reader (OpenSC exactly so). Where none does, a single
    occupied slot is taken to be it.
    """
    slots = library.get_slots(token_present=True)
    wanted = reader_name[:_SLOT_DESCRIPTION_LENGTH].rstrip()
    matching = [slot for slot in slots if slot.slot_description == wanted]
    if not matching and len(slots) == 1:
        matching = slots
    tokens = {}
    unsupported = False
    for slot in matching:
        try:
            tokens[slot.slot_id] = slot.get_token()
        except TokenNotRecognised:
            unsupported = True
        except TokenNotPresent:
            continue
    if unsupported and not tokens:
        raise CardUnsupported("the PKCS#11 module does not understand this card")
    if not tokens:
        raise TokenNotFound(f"the PKCS#11 module sees no card in {reader_name}")
    return tokens
