"""What a token tells of itself and of the keys on it: read, never believed beyond that.

A token that lies cannot be found out from outside; what is read here is the token's own word.
"""

from dataclasses import dataclass
from typing import cast

import pkcs11
from pkcs11 import Attribute, ObjectClass
from pkcs11.exceptions import AttributeSensitive, AttributeTypeInvalid

from pkcs11_bridge import mechanisms, objects
from pkcs11_bridge.errors import (
    KeyAmbiguous,
    KeyNotFound,
    KeyNotLocal,
    KeyRetiredOnToken,
    KeyUnsupported,
)
from pkcs11_bridge.login import PooledSession
from pkcs11_bridge.mechanisms import PublicKey
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri

_NOT_TOLD = (AttributeTypeInvalid, AttributeSensitive)
"""The token does not say; any other error means that nobody could find out."""


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """CK_TOKEN_INFO and CK_INFO, as far as they name a device.

    Attributes:
        library: CK_INFO.libraryDescription.
        label, manufacturer, model, serial: text, without its padding.
        hardware, firmware: versions, `major.minor`.
    """

    library: str
    label: str
    manufacturer: str
    model: str
    serial: str
    hardware: str
    firmware: str


@dataclass(frozen=True, slots=True)
class KeyAttributes:
    """A private key as its token describes it; None where the token does not say.

    Attributes:
        uri: token label, key label and id.
        public_key: of its public half; None where there is none that is understood.
        sensitive: its value is not revealed in plain.
        always_sensitive: and never was.
        extractable: it may leave the token wrapped.
        never_extractable: and never could.
        local: it was made in this token.
        may_sign: CKA_SIGN; false marks a retired key.
    """

    uri: Pkcs11Uri
    public_key: PublicKey | None
    sensitive: bool | None
    always_sensitive: bool | None
    extractable: bool | None
    never_extractable: bool | None
    local: bool | None
    may_sign: bool | None

    @property
    def stays_in_token(self) -> bool:
        """Whether the token says all of what it must say of a key that cannot leave it."""
        return (
            self.sensitive is True
            and self.always_sensitive is True
            and self.extractable is False
            and self.never_extractable is True
        )


def identify_token(sessions: TokenSessions) -> TokenIdentity:
    """What the token calls itself; raises TokenError as ``TokenSessions.open``."""
    described = sessions.describe()
    hardware, firmware = sessions.perform(_versions)
    return TokenIdentity(
        library=described.library,
        label=described.label,
        manufacturer=described.manufacturer,
        model=described.model,
        serial=described.serial,
        hardware=hardware,
        firmware=firmware,
    )


def read_key(sessions: TokenSessions, uri: Pkcs11Uri) -> KeyAttributes:
    """The attributes of the one private key that the URI selects.

    Raises:
        KeyNotFound, KeyAmbiguous, UriInvalid: none, several, or no selection.
        TokenError: as ``TokenSessions.perform``.
    """

    def read(pooled: PooledSession) -> KeyAttributes:
        key = objects.find_private_key(pooled.raw, uri)
        return _attributes(sessions.label, pooled.raw, key)

    return sessions.perform(read)


def list_keys(sessions: TokenSessions) -> tuple[KeyAttributes, ...]:
    """All private keys on the token, by label; raises TokenError."""

    def read(pooled: PooledSession) -> list[KeyAttributes]:
        found = list(pooled.raw.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        return [_attributes(sessions.label, pooled.raw, key) for key in found]

    listed = sessions.perform(read)
    return tuple(sorted(listed, key=lambda key: (key.uri.object or "", key.uri.id or b"")))


def require_local(key: KeyAttributes) -> None:
    """Refuse a new key of which the token does not say that it made it; raises KeyNotLocal."""
    if key.local is not True:
        raise KeyNotLocal(f"the token does not say of {key.uri} that it was made there")


def require_not_retired(sessions: TokenSessions, uri: Pkcs11Uri) -> None:
    """Refuse a key that was retired on the token.

    Raises:
        KeyRetiredOnToken: its CKA_SIGN is false.
        TokenError: as ``read_key``.
    """
    if read_key(sessions, uri).may_sign is False:
        raise KeyRetiredOnToken(f"{uri} was retired: the token lets it sign nothing")


def _attributes(token: str, session: pkcs11.Session, key: pkcs11.Object) -> KeyAttributes:
    uri = Pkcs11Uri(
        token=token,
        object=cast("str", key[Attribute.LABEL]) or None,
        id=bytes(key[Attribute.ID]) or None,
        type="private",
    )
    return KeyAttributes(
        uri=uri,
        public_key=_public_key(session, key),
        sensitive=_flag(key, Attribute.SENSITIVE),
        always_sensitive=_flag(key, Attribute.ALWAYS_SENSITIVE),
        extractable=_flag(key, Attribute.EXTRACTABLE),
        never_extractable=_flag(key, Attribute.NEVER_EXTRACTABLE),
        local=_flag(key, Attribute.LOCAL),
        may_sign=_flag(key, Attribute.SIGN),
    )


def _flag(key: pkcs11.Object, attribute: Attribute) -> bool | None:
    try:
        value = key[attribute]
    except _NOT_TOLD:
        return None
    return value if isinstance(value, bool) else None


def _public_key(session: pkcs11.Session, key: pkcs11.Object) -> PublicKey | None:
    try:
        return mechanisms.public_key_of(objects.find_public_half(session, key))
    except (KeyNotFound, KeyAmbiguous, KeyUnsupported, *_NOT_TOLD):
        return None


def _versions(pooled: PooledSession) -> tuple[str, str]:
    token = pooled.raw.token
    return _version(token.hardware_version), _version(token.firmware_version)


def _version(version: tuple[int, int]) -> str:
    """CK_VERSION: the minor part counts hundredths (PKCS#11 2.40 section 3.1)."""
    major, minor = version
    return f"{major}.{minor:02d}"
