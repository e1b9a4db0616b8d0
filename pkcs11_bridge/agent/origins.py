"""Which keys speak for which service: the file that the agent trusts.

    {"origins": {"https://login.example.mn": {"current": "<base64 SPKI DER>",
                                              "next": "<base64 SPKI DER>" or null}}}

A nonce carries no key, hence the file holds the public keys themselves; a person compares their
SHA-256 fingerprints. Whoever can write the file decides whom the agent believes.
"""

import base64
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs11_bridge.agent.errors import OriginInvalid, OriginNotConfirmed, OriginsFileInvalid

MAX_FILE_BYTES = 1_000_000
MAX_ORIGIN_LENGTH = 255
_DEFAULT_PORT = 443

# RFC 6454 section 6.2: the ASCII form, as a browser writes it: lower case, no default port
_ORIGIN = re.compile(
    r"https://(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
)


def checked_origin(unverified_origin: str) -> str:
    """The origin, if it is one in the very form that a browser writes.

    Raises:
        OriginInvalid: not ``https://host[:port]``, or longer than 255 characters.
    """
    match = _ORIGIN.fullmatch(unverified_origin)
    if match is None or len(unverified_origin) > MAX_ORIGIN_LENGTH:
        raise OriginInvalid("an origin is https://host[:port], lower case, without a path")
    port = match["port"]
    if port is not None and (int(port) > 65535 or int(port) == _DEFAULT_PORT):
        raise OriginInvalid("the port is the default one or out of range")
    return unverified_origin


@dataclass(frozen=True, slots=True)
class OriginPins:
    """The keys of one origin: the one in use, and the one that will follow."""

    current: ec.EllipticCurvePublicKey
    next: ec.EllipticCurvePublicKey | None

    @property
    def keys(self) -> tuple[ec.EllipticCurvePublicKey, ...]:
        """All keys that may sign a proof."""
        return (self.current,) if self.next is None else (self.current, self.next)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of each key's SubjectPublicKeyInfo, lower-case hex, for people to compare."""
        return tuple(hashlib.sha256(_spki(key)).hexdigest() for key in self.keys)


@dataclass(frozen=True, slots=True)
class PinnedOrigins:
    """All pinned origins; an origin that is not in it is never "real", only "not confirmed"."""

    pins: Mapping[str, OriginPins]

    def of(self, origin: str) -> OriginPins:
        """The pins of an origin.

        Raises:
            OriginNotConfirmed: nothing is pinned for it.
        """
        pins = self.pins.get(origin)
        if pins is None:
            raise OriginNotConfirmed(origin)
        return pins

    @classmethod
    def load(cls, path: Path) -> "PinnedOrigins":
        """Read the file.

        Raises:
            OriginsFileInvalid: missing, too large, writable by its group or everybody, owned by a
                stranger, or not exactly of the format.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                _require_trustworthy(os.fstat(descriptor), path)
                content = file.read(MAX_FILE_BYTES + 1)
        except OSError as e:
            raise OriginsFileInvalid(f"{path} cannot be read") from e
        return cls.parse(content)

    @classmethod
    def parse(cls, unverified_content: bytes) -> "PinnedOrigins":
        """Read the file's content, at most 1,000,000 bytes; raises OriginsFileInvalid."""
        if len(unverified_content) > MAX_FILE_BYTES:
            raise OriginsFileInvalid("the file of pinned origins is too large")
        try:
            document = json.loads(unverified_content, object_pairs_hook=_unrepeated)
        except (ValueError, RecursionError) as e:
            raise OriginsFileInvalid("the file of pinned origins is not JSON in UTF-8") from e
        if not isinstance(document, dict) or document.keys() != {"origins"}:
            raise OriginsFileInvalid('the file of pinned origins has one member, "origins"')
        entries = document["origins"]
        if not isinstance(entries, dict) or not entries:
            raise OriginsFileInvalid("the file pins no origin")
        return cls({_file_origin(origin): _pins(entry) for origin, entry in entries.items()})


def origins_document(pins: Mapping[str, OriginPins]) -> str:
    """The file's text for these pins; ``PinnedOrigins.parse`` reads it back.

    Raises:
        OriginInvalid: a key of the mapping is no origin.
    """
    entries = {
        checked_origin(origin): {
            "current": _base64_spki(entry.current),
            "next": None if entry.next is None else _base64_spki(entry.next),
        }
        for origin, entry in pins.items()
    }
    return json.dumps({"origins": entries}, indent=2, sort_keys=True) + "\n"


def _require_trustworthy(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OriginsFileInvalid(f"{path} is not a plain file")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OriginsFileInvalid(f"{path} can be changed by others")


def _unrepeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _file_origin(unverified_origin: str) -> str:
    try:
        return checked_origin(unverified_origin)
    except OriginInvalid as e:
        raise OriginsFileInvalid(f"{unverified_origin!r} is not an origin") from e


def _pins(entry: object) -> OriginPins:
    if not isinstance(entry, dict) or entry.keys() != {"current", "next"}:
        raise OriginsFileInvalid('an origin has two members, "current" and "next"')
    following = entry["next"]
    return OriginPins(_key(entry["current"]), None if following is None else _key(following))


def _key(unverified_text: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(unverified_text, str):
        raise OriginsFileInvalid("a key is base64 text")
    try:
        der = base64.b64decode(unverified_text, validate=True)
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm) as e:
        raise OriginsFileInvalid("a key is not the base64 of a SubjectPublicKeyInfo") from e
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise OriginsFileInvalid("a key is not on P-256")
    return key


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _base64_spki(key: ec.EllipticCurvePublicKey) -> str:
    return base64.b64encode(_spki(key)).decode("ascii")
