"""Elections: the manifest, specified to the byte, and what follows from it."""

import base64
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from signer.payload import AUDIT_ORIGIN_PREFIX
from signer.receipts.errors import KeyMalformed, ManifestMalformed, PolicyMalformed
from signer.receipts.leaf import GenesisLeaf, is_election_id
from signer.receipts.note import (
    NoteAlgorithm,
    NotePublicKey,
    VerifierKey,
    is_key_name,
    strict_base64,
)
from signer.receipts.policy import serialise_policy
from signer.receipts.strict_json import JsonMalformed, parse_object

FORMAT = "mn.manifest/1"
MAX_MANIFEST_BYTES = 65_536
MAX_TITLE_CHARS = 200
_TIME = "%Y-%m-%dT%H:%M:%SZ"

_MEMBERS = frozenset(
    {
        "closes_at",
        "election_id",
        "election_system_key",
        "format",
        "log_keys",
        "no_vote_proof",
        "opens_at",
        "origin",
        "policy_sha256",
        "title",
    }
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an election's log is bound to from its first entry on.

    Attributes:
        election_id: the election's name in paths.
        title: what people call it, 1 to 200 characters in NFC.
        origin: the log's name: a domain, a slash, the election id.
        opens_at: from then on ballots are taken; aware UTC, whole seconds.
        closes_at: from then on new ballots are refused.
        election_system_key: P-256; signs registrations and the closing.
        current_keys: the log keys that sign, an ECDSA P-256 key among them.
        standby_keys: keys that may take over, on another token; may be empty.
        no_vote_proof: whether the close record holds a tree of those who voted.
    """

    election_id: str
    title: str
    origin: str
    opens_at: datetime
    closes_at: datetime
    election_system_key: ec.EllipticCurvePublicKey = field(compare=False, repr=False)
    current_keys: tuple[VerifierKey, ...]
    standby_keys: tuple[VerifierKey, ...]
    no_vote_proof: bool

    def __post_init__(self) -> None:
        domain, _, last = self.origin.rpartition("/")
        if not is_election_id(self.election_id) or last != self.election_id or not domain:
            raise ManifestMalformed("the origin is a domain, a slash and the election id")
        if not is_key_name(self.origin) or self.origin.startswith(AUDIT_ORIGIN_PREFIX):
            raise ManifestMalformed("the origin is not a key's name, or is an audit log's")
        if not _is_title(self.title):
            raise ManifestMalformed("the title is 1 to 200 printable characters in NFC")
        if not _is_whole(self.opens_at) or not _is_whole(self.closes_at):
            raise ManifestMalformed("times are UTC and whole seconds")
        if self.opens_at >= self.closes_at:
            raise ManifestMalformed("the window ends before it begins")
        if not isinstance(self.election_system_key.curve, ec.SECP256R1):
            raise ManifestMalformed("the election system's key is P-256")
        if NoteAlgorithm.ECDSA_P256 not in {key.algorithm for key in self.current_keys}:
            raise ManifestMalformed("an ECDSA P-256 key is among the log's current keys")
        if any(key.name != self.origin for key in self.log_keys):
            raise ManifestMalformed("a log's key bears the log's origin as its name")
        try:
            self.policy()
        except PolicyMalformed as error:
            raise ManifestMalformed("the log's keys do not make up a policy") from error

    @property
    def log_keys(self) -> tuple[VerifierKey, ...]:
        """All pinned keys, the current ones first."""
        return self.current_keys + self.standby_keys

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the manifest's bytes, 32 bytes; every log entry states it."""
        return hashlib.sha256(self.serialise()).digest()

    def policy(self) -> bytes:
        """The trust policy file of this log."""
        return serialise_policy(self.log_keys)

    @property
    def policy_sha256(self) -> bytes:
        """The policy file's fingerprint, 32 bytes."""
        return hashlib.sha256(self.policy()).digest()

    def genesis(self) -> GenesisLeaf:
        """Entry 0 of the log."""
        return GenesisLeaf(self.election_id, self.sha256)

    def serialise(self) -> bytes:
        """The manifest's one form: RFC 8785 (JCS) of members that are text, flags and lists."""
        members = {
            "closes_at": self.closes_at.strftime(_TIME),
            "election_id": self.election_id,
            "election_system_key": encode_key(self.election_system_key),
            "format": FORMAT,
            "log_keys": {
                "current": [str(key) for key in self.current_keys],
                "standby": [str(key) for key in self.standby_keys],
            },
            "no_vote_proof": self.no_vote_proof,
            "opens_at": self.opens_at.strftime(_TIME),
            "origin": self.origin,
            "policy_sha256": self.policy_sha256.hex(),
            "title": self.title,
        }
        # All names are ASCII, so sorting by code points is the order of RFC 8785, 3.2.3.
        text = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return text.encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest.

        Raises:
            ManifestMalformed: the bytes are not a manifest in its one form.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise ManifestMalformed("the manifest is too long")
        try:
            members = parse_object(data)
        except JsonMalformed as error:
            raise ManifestMalformed("the manifest is not a JSON object") from error
        if frozenset(members) != _MEMBERS or members["format"] != FORMAT:
            raise ManifestMalformed("the manifest has other members than its format says")
        try:
            manifest = cls._of(members)
        except (KeyMalformed, KeyError, TypeError, ValueError) as error:
            raise ManifestMalformed("a member of the manifest is malformed") from error
        if manifest.serialise() != data:
            raise ManifestMalformed("the manifest is not in its canonical form")
        return manifest

    @classmethod
    def _of(cls, members: dict[str, object]) -> Self:
        """A manifest of its JSON members; those of a wrong type raise here or do not match."""
        keys = members["log_keys"]
        flag = members["no_vote_proof"]
        if not isinstance(keys, dict) or not isinstance(flag, bool):
            raise TypeError("log_keys is an object and no_vote_proof a flag")
        return cls(
            election_id=_text(members["election_id"]),
            title=_text(members["title"]),
            origin=_text(members["origin"]),
            opens_at=_time(members["opens_at"]),
            closes_at=_time(members["closes_at"]),
            election_system_key=decode_key(_text(members["election_system_key"])),
            current_keys=_keys(keys["current"]),
            standby_keys=_keys(keys["standby"]),
            no_vote_proof=flag,
        )


def draw_up_manifest(
    *,
    election_id: str,
    title: str,
    domain: str,
    opens_at: datetime,
    closes_at: datetime,
    election_system_key: ec.EllipticCurvePublicKey,
    current_keys: Sequence[NotePublicKey],
    standby_keys: Sequence[NotePublicKey],
    no_vote_proof: bool,
) -> Manifest:
    """A manifest whose log is named for the domain and the election.

    Raises:
        ManifestMalformed: a value is not allowed.
    """
    origin = f"{domain}/{election_id}"
    try:
        current = tuple(VerifierKey.of(origin, key) for key in current_keys)
        standby = tuple(VerifierKey.of(origin, key) for key in standby_keys)
    except KeyMalformed as error:
        raise ManifestMalformed("the origin or a log key is not allowed") from error
    return Manifest(
        election_id=election_id,
        title=title,
        origin=origin,
        opens_at=opens_at,
        closes_at=closes_at,
        election_system_key=election_system_key,
        current_keys=current,
        standby_keys=standby,
        no_vote_proof=no_vote_proof,
    )


def encode_key(key: ec.EllipticCurvePublicKey) -> str:
    """Base64 of a public key's SubjectPublicKeyInfo in DER."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return base64.b64encode(der).decode()


def decode_key(text: str) -> ec.EllipticCurvePublicKey:
    """The elliptic-curve key of base64 as `encode_key` writes it.

    Raises:
        KeyMalformed: it is none.
    """
    try:
        key = serialization.load_der_public_key(strict_base64(text))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyMalformed("not a public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyMalformed("not an elliptic-curve key")
    return key


def _is_title(title: str) -> bool:
    return (
        0 < len(title) <= MAX_TITLE_CHARS
        and title.isprintable()
        and unicodedata.is_normalized("NFC", title)
    )


def _is_whole(time: datetime) -> bool:
    return time.utcoffset() == timedelta(0) and time.microsecond == 0


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a member is text")
    return value


def _time(value: object) -> datetime:
    return datetime.strptime(_text(value), _TIME).replace(tzinfo=UTC)


def _keys(values: object) -> tuple[VerifierKey, ...]:
    if not isinstance(values, Iterable):
        raise TypeError("keys are a list")
    return tuple(VerifierKey.parse(_text(value)) for value in values)
