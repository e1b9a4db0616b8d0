"""Trust policies (C2SP tlog-policy): which logs and witnesses a verifier believes.

The format lets a checkpoint pass that any one of the listed logs signed. Tamga pins
several keys of one log as several `log` lines of one name and demands more; see
`LogKeys.require` and `docs/receipt-format.md`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from signer.receipts.checkpoint import parse_decimal
from signer.receipts.errors import (
    KeyMalformed,
    LogNotTrusted,
    LogSignatureMissing,
    PolicyMalformed,
)
from signer.receipts.note import NoteAlgorithm, VerifierKey, strict_base64

MAX_POLICY_BYTES = 262_144
MAX_DEFINITIONS = 64  # of each kind; the format asks for 32 at least
NO_QUORUM = "none"

# Signature types of cosigners (C2SP tlog-cosignature) and the length of their keys.
_WITNESS_KEY_BYTES = {0x04: 32, 0x06: 1312}


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys that a policy pins for one log.

    Attributes:
        origin: the log's name.
        keys: at least one.
    """

    origin: str
    keys: tuple[VerifierKey, ...]

    def require(self, signed: Iterable[VerifierKey]) -> None:
        """Check that enough of the log's keys signed.

        Keys of one signature type are alternatives (the current one and its standby);
        types are not: each type that is pinned must have signed.

        Raises:
            LogSignatureMissing: a pinned type did not sign.
        """
        missing = {key.algorithm for key in self.keys} - {key.algorithm for key in signed}
        if missing:
            names = ", ".join(sorted(algorithm.name for algorithm in missing))
            raise LogSignatureMissing(f"no signature of type {names} by a key of {self.origin}")


@dataclass(frozen=True, slots=True)
class Witness:
    """A cosigner.

    Attributes:
        name: its name inside the policy.
        key_name: its key's name.
        key_id: 4 bytes.
        kind: signature type, 0x04 or 0x06.
        public_key: the raw key.
    """

    name: str
    key_name: str
    key_id: bytes
    kind: int
    public_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Group:
    """At least `threshold` of the members must have witnessed a checkpoint."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A trust policy, well-formed.

    Attributes:
        logs: by origin.
        witnesses: by name.
        groups: by name.
        quorum: the name of a witness or group, or None where the policy says `none`.
        sha256: the fingerprint of the policy's bytes.
    """

    logs: Mapping[str, LogKeys]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group]
    quorum: str | None
    sha256: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a policy file.

        Raises:
            PolicyMalformed: the bytes are not one, strictly.
        """
        if len(data) > MAX_POLICY_BYTES:
            raise PolicyMalformed("the policy is too long")
        reader = _Reader()
        for line in _lines(data):
            reader.read(line)
        if not reader.quorums:
            raise PolicyMalformed("a policy has exactly one quorum line")
        logs = {
            origin: LogKeys(origin, tuple(k for k in reader.log_keys if k.name == origin))
            for origin in dict.fromkeys(key.name for key in reader.log_keys)
        }
        quorum = None if reader.quorums[0] == NO_QUORUM else reader.quorums[0]
        digest = hashlib.sha256(data).digest()
        return cls(logs, reader.witnesses, reader.groups, quorum, digest)

    def log(self, origin: str) -> LogKeys:
        """The keys of a log that this project's rules let a verifier trust.

        Raises:
            LogNotTrusted: the policy does not name the log; or it names another one too,
                which is how a damaged name in an ECDSA key's line would look (the ids of
                such keys do not cover their names); or it pins no ECDSA P-256 key for the
                log: every log of this project signs with one.
        """
        keys = self.logs.get(origin)
        if keys is None:
            raise LogNotTrusted("the policy does not name this log")
        if len(self.logs) > 1:
            raise LogNotTrusted("the policy names another log as well")
        if NoteAlgorithm.ECDSA_P256 not in {key.algorithm for key in keys.keys}:
            raise LogNotTrusted("the policy pins no ECDSA P-256 key for this log")
        return keys


def serialise_policy(keys: Sequence[VerifierKey]) -> bytes:
    """The policy file of a log without witnesses: a line for each key, and no quorum.

    Raises:
        PolicyMalformed: the keys do not make up a policy.
    """
    data = "".join(f"log {key}\n" for key in keys).encode() + b"quorum none\n"
    Policy.parse(data)
    return data


class _Reader:
    """Collects the definitions of a policy line by line."""

    def __init__(self) -> None:
        self.log_keys: list[VerifierKey] = []
        self.witnesses: dict[str, Witness] = {}
        self.groups: dict[str, Group] = {}
        self.quorums: list[str] = []
        self._grouped: set[str] = set()
        self._keys_seen: set[tuple[str, bytes]] = set()

    def read(self, items: list[str]) -> None:
        match items:
            case ["log", vkey] | ["log", vkey, _]:
                self._log(vkey)
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._witness(name, vkey)
            case ["group", name, threshold, _, *_]:
                self._group(name, threshold, items[3:])
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise PolicyMalformed(f"no such line: {items[0]} with {len(items) - 1} items")

    def _log(self, vkey: str) -> None:
        try:
            key = VerifierKey.parse(vkey)
        except KeyMalformed as error:
            raise PolicyMalformed("a log's key is malformed") from error
        self._once("log", key.encoded)
        if len(self.log_keys) == MAX_DEFINITIONS:
            raise PolicyMalformed("the policy has too many logs")
        self.log_keys.append(key)

    def _witness(self, name: str, vkey: str) -> None:
        self._define(name)
        if len(self.witnesses) == MAX_DEFINITIONS:
            raise PolicyMalformed("the policy has too many witnesses")
        witness = _parse_witness(name, vkey)
        self._once("witness", witness.public_key)
        self.witnesses[name] = witness

    def _group(self, name: str, threshold: str, members: list[str]) -> None:
        self._define(name)
        if len(self.groups) == MAX_DEFINITIONS:
            raise PolicyMalformed("the policy has too many groups")
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise PolicyMalformed("a group's member is not defined on an earlier line")
            if member in self._grouped:
                raise PolicyMalformed("a name is a member of a group twice")
            self._grouped.add(member)
        self.groups[name] = Group(name, _threshold(threshold, len(members)), tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorums:
            raise PolicyMalformed("a policy has exactly one quorum line")
        if name != NO_QUORUM and name not in self.witnesses and name not in self.groups:
            raise PolicyMalformed("the quorum is not defined on an earlier line")
        self.quorums.append(name)

    def _define(self, name: str) -> None:
        if name == NO_QUORUM or name in self.witnesses or name in self.groups:
            raise PolicyMalformed("a name is defined twice, or reserved")

    def _once(self, kind: str, key: bytes) -> None:
        if (kind, key) in self._keys_seen:
            raise PolicyMalformed(f"a {kind}'s public key is listed twice")
        self._keys_seen.add((kind, key))


def _lines(data: bytes) -> list[list[str]]:
    """The items of each line that says something. Octets above 0x7F are opaque."""
    if any((octet < 0x20 and octet not in b"\t\n") or octet == 0x7F for octet in data):
        raise PolicyMalformed("the policy holds a control character")
    if not data.endswith(b"\n"):
        raise PolicyMalformed("the policy's last line is not terminated")
    text = data.decode(errors="surrogateescape")
    split = [
        [item for item in line.replace("\t", " ").split(" ") if item] for line in text.split("\n")
    ]
    return [items for items in split if items and not items[0].startswith("#")]


def _threshold(text: str, members: int) -> int:
    if text == "all":
        return members
    if text == "any":
        return 1
    try:
        threshold = parse_decimal(text)
    except ValueError as error:
        raise PolicyMalformed("a group's threshold is all, any or a number") from error
    if not 1 <= threshold <= members:
        raise PolicyMalformed("a group's threshold is between 1 and its size")
    return threshold


def _parse_witness(name: str, vkey: str) -> Witness:
    try:
        key_name, key_id, encoded = vkey.split("+", 2)
        data = strict_base64(encoded)
        kind, public_key = data[0], data[1:]
        expected = _WITNESS_KEY_BYTES[kind]
    except (ValueError, IndexError, KeyError) as error:
        raise PolicyMalformed("a witness's key is malformed or of another type") from error
    named = key_name.encode(errors="surrogateescape") + b"\n" + data
    digest = hashlib.sha256(named).digest()[:4]
    if len(public_key) != expected or not key_name or digest.hex() != key_id:
        raise PolicyMalformed("a witness's key id or key length is wrong")
    return Witness(name, key_name, digest, kind, public_key)
