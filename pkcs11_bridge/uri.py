"""PKCS#11 URIs (RFC 7512): the names of tokens and keys.

Only what selects a token or a key is understood: token, serial, object, id, type. Everything else
is refused rather than ignored, above all ``pin-value``: a PIN never stands in a URI.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import quote, unquote_to_bytes

from pkcs11_bridge.errors import UriInvalid

ObjectType = Literal["public", "private", "cert", "secret-key", "data"]

MAX_LENGTH = 1024
_SCHEME = "pkcs11:"
# RFC 7512 section 2.3: pk11-path-res-avail, beside the unreserved characters
_SAFE = ":[]@!$'()*+,=&"
_VALUE = re.compile(r"(?:[A-Za-z0-9\-._~:\[\]@!$'()*+,=&]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """Which token, and which object on it; None leaves a part open.

    ``serial`` is text as the token reports it, ``id`` the bytes of CKA_ID.
    """

    token: str | None = None
    serial: str | None = None
    object: str | None = None
    id: bytes | None = None
    type: ObjectType | None = None

    @classmethod
    def parse(cls, unverified_text: str) -> "Pkcs11Uri":
        """Read a URI of at most 1024 characters.

        Raises:
            UriInvalid: another scheme, an unknown or repeated attribute, a query part (PIN and
                module are configured elsewhere), an empty value, bad percent-encoding.
        """
        if len(unverified_text) > MAX_LENGTH or not unverified_text.startswith(_SCHEME):
            raise UriInvalid("a PKCS#11 URI begins with pkcs11:")
        path = unverified_text[len(_SCHEME) :]
        if "?" in path:
            raise UriInvalid("query attributes (PIN, module) have no place in this URI")
        attributes: dict[str, bytes] = {}
        for part in path.split(";") if path else ():
            name, equals, value = part.partition("=")
            if not equals or name not in {"token", "serial", "object", "id", "type"}:
                raise UriInvalid("only token, serial, object, id and type are understood")
            if name in attributes:
                raise UriInvalid(f"{name} stands twice")
            if not value or not _VALUE.fullmatch(value):
                raise UriInvalid(f"the value of {name} is empty or not percent-encoded")
            attributes[name] = unquote_to_bytes(value)
        return cls(
            token=_text(attributes, "token"),
            serial=_text(attributes, "serial"),
            object=_text(attributes, "object"),
            id=attributes.get("id"),
            type=_object_type(_text(attributes, "type")),
        )

    def selects(self, key: "Pkcs11Uri") -> bool:
        """Whether token, label, id and type, as far as this URI fixes them, are the key's own."""
        parts = ("token", "object", "id", "type")
        return all(getattr(self, part) in {None, getattr(key, part)} for part in parts)

    def __str__(self) -> str:
        parts = []
        for name in ("token", "serial", "object"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name}={quote(value, safe=_SAFE)}")
        if self.id is not None:
            # Section 2.3: the whole value of id should be percent-encoded
            parts.append("id=" + "".join(f"%{byte:02X}" for byte in self.id))
        if self.type is not None:
            parts.append(f"type={self.type}")
        return _SCHEME + ";".join(parts)


def _text(attributes: dict[str, bytes], name: str) -> str | None:
    value = attributes.get(name)
    if value is None:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as e:
        raise UriInvalid(f"{name} is not UTF-8") from e


def _object_type(value: str | None) -> ObjectType | None:
    if value is None:
        return None
    for known in get_args(ObjectType):
        if value == known:
            found: ObjectType = known
            return found
    raise UriInvalid("type is public, private, cert, secret-key or data")
