"""Signed notes (C2SP signed-note v1.0.0): verifier keys, parsing, signatures."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import InitVar, dataclass, field
from enum import IntEnum
from typing import Never, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from signer.receipts.errors import (
    KeyMalformed,
    NoteMalformed,
    NoteSignatureInvalid,
    NoteUnsigned,
)
from signer.verify import PublicKey

_SEAL = object()

# A post-quantum cosignature line is 3.3 kB long; sixteen of them and the text fit well.
MAX_NOTE_BYTES = 131_072
MAX_SIGNATURES = 64
KEY_ID_BYTES = 4

_SIGNATURE_LINE = re.compile(r"\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})")
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")
# Surrogates stand for octets that are not UTF-8 where a caller let them pass.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

NotePublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class NoteAlgorithm(IntEnum):
    """The signature types that a log's key may have; cosignatures have others."""

    ED25519 = 0x01
    ECDSA_P256 = 0x02


def strict_base64(text: str) -> bytes:
    """Bytes of standard base64 in its one canonical form.

    Raises:
        ValueError: another alphabet, padding, or bits set behind the end.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise ValueError("not the canonical base64 of its bytes")
    return data


def note_public_key(public_key: PublicKey) -> NotePublicKey:
    """A service's public key as one that signs notes; raises KeyMalformed if it is an RSA key."""
    if isinstance(public_key, rsa.RSAPublicKey):
        raise KeyMalformed("a log's key is Ed25519 or ECDSA P-256")
    return public_key


def is_key_name(name: str) -> bool:
    """Whether a key may have this name: not empty, no Unicode space, no plus, no control."""
    return bool(name) and not any(c.isspace() or c == "+" for c in name) and not _bad_text(name)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name, as a vkey says it.

    Attributes:
        name: the key's name; a log's key bears the log's origin.
        algorithm: the signature type.
        public_key: Ed25519 or ECDSA P-256.
        encoded: the key's bytes in a vkey: 32 bytes raw, or the SubjectPublicKeyInfo in DER.
        key_id: 4 bytes.
    """

    name: str
    algorithm: NoteAlgorithm
    public_key: NotePublicKey = field(compare=False, repr=False)
    encoded: bytes = field(repr=False)
    key_id: bytes

    @classmethod
    def of(cls, name: str, public_key: PublicKey) -> Self:
        """Name a public key.

        Raises:
            KeyMalformed: the name is not allowed, or the key is not Ed25519 or P-256.
        """
        if not is_key_name(name):
            raise KeyMalformed("a key's name is empty or holds a space, plus or control")
        public_key = note_public_key(public_key)
        if isinstance(public_key, ed25519.Ed25519PublicKey):
            algorithm, encoded = NoteAlgorithm.ED25519, public_key.public_bytes_raw()
        elif isinstance(public_key.curve, ec.SECP256R1):
            algorithm = NoteAlgorithm.ECDSA_P256
            encoded = public_key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        else:
            raise KeyMalformed("a log's key is Ed25519 or ECDSA P-256")
        return cls(name, algorithm, public_key, encoded, _key_id(name, algorithm, encoded))

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read `name+hex(key id)+base64(type || key)`.

        Raises:
            KeyMalformed: another form, an unsupported type, or a key id that is not the key's.
        """
        match = _VKEY.fullmatch(vkey)
        if match is None:
            raise KeyMalformed("a vkey is name, key id and key, joined by plus signs")
        name, key_id, encoded = match.groups()
        try:
            data = strict_base64(encoded)
            public_key = _load_key(data[0], data[1:])
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyMalformed("the vkey's key is not one that is supported") from error
        key = cls.of(name, public_key)
        if key.encoded != data[1:] or key.key_id.hex() != key_id:
            raise KeyMalformed("the vkey's key id or encoding is not its key's")
        return key

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.algorithm]) + self.encoded).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    def verify(self, text: bytes, signature: bytes) -> None:
        """Check a signature on a note's text: ECDSA in DER over SHA-256, or pure Ed25519.

        Raises:
            NoteSignatureInvalid: it is not by this key over this text.
        """
        try:
            if isinstance(self.public_key, ed25519.Ed25519PublicKey):
                self.public_key.verify(signature, text)
            else:
                self.public_key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature as error:
            raise NoteSignatureInvalid(f"{self.algorithm.name} of {self.name}") from error


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line.

    Attributes:
        name: the key's name.
        key_id: 4 bytes.
        signature: what the key's type prescribes.
    """

    name: str
    key_id: bytes
    signature: bytes = field(repr=False)

    def line(self) -> str:
        """The line with its line feed."""
        encoded = base64.b64encode(self.key_id + self.signature).decode()
        return f"\u2014 {self.name} {encoded}\n"


@dataclass(frozen=True, slots=True)
class UnverifiedNote:
    """A note as it came: text and signature lines, nothing checked but their form.

    Attributes:
        text: what was signed, with its last line feed.
        signatures: the signature lines in their order, at least one.
    """

    text: bytes = field(repr=False)
    signatures: tuple[NoteSignature, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a signed note.

        Raises:
            NoteMalformed: the bytes are not one.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise NoteMalformed("the note is too long")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise NoteMalformed("the note is not UTF-8") from error
        if _CONTROL.search(whole) or not whole.endswith("\n"):
            raise NoteMalformed("a note has no control characters and ends with a line feed")
        text, separator, tail = whole.rpartition("\n\n")
        if not separator or not tail:
            raise NoteMalformed("a note's signatures follow an empty line")
        lines = tail[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise NoteMalformed("the note has too many signatures")
        return cls((text + "\n").encode(), tuple(_parse_line(line) for line in lines))

    def serialise(self) -> bytes:
        """The note's bytes."""
        return self.text + b"\n" + "".join(s.line() for s in self.signatures).encode()


@dataclass(frozen=True, slots=True)
class VerifiedNote:
    """A note of which at least one known key's signature, and no wrong one, was found.

    Attributes:
        text: what was signed.
        keys: the known keys that signed it.
    """

    text: bytes = field(repr=False)
    keys: tuple[VerifierKey, ...]
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a VerifiedNote is made by open_note() alone")

    def __reduce__(self) -> Never:
        raise TypeError("a VerifiedNote cannot be pickled")


def open_note(unverified_note: UnverifiedNote, keys: Iterable[VerifierKey]) -> VerifiedNote:
    """Check the signatures of the known keys.

    A line is a known key's if name and key id both are; other lines are ignored.

    Raises:
        NoteSignatureInvalid: a known key's signature does not verify.
        NoteUnsigned: no known key signed the note.
    """
    known = {(key.name, key.key_id): key for key in keys}
    signed: dict[tuple[str, bytes], VerifierKey] = {}
    for signature in unverified_note.signatures:
        identity = (signature.name, signature.key_id)
        if identity in known:
            known[identity].verify(unverified_note.text, signature.signature)
            signed[identity] = known[identity]
    if not signed:
        raise NoteUnsigned("no known key signed the note")
    return VerifiedNote(unverified_note.text, tuple(signed.values()), _SEAL)


def assemble_note(text: bytes, signatures: Sequence[tuple[VerifierKey, bytes]]) -> bytes:
    """A note's bytes from its text and each key's signature, which are not checked here."""
    lines = tuple(NoteSignature(key.name, key.key_id, value) for key, value in signatures)
    return UnverifiedNote(text, lines).serialise()


def _key_id(name: str, algorithm: NoteAlgorithm, encoded: bytes) -> bytes:
    """Signed-note: ECDSA key ids are of the key alone, others also of name and type."""
    if algorithm is NoteAlgorithm.ECDSA_P256:
        return hashlib.sha256(encoded).digest()[:KEY_ID_BYTES]
    named = name.encode() + b"\n" + bytes([algorithm]) + encoded
    return hashlib.sha256(named).digest()[:KEY_ID_BYTES]


def _load_key(kind: int, encoded: bytes) -> NotePublicKey:
    """A public key of its bytes in a vkey; raises ValueError or UnsupportedAlgorithm."""
    if NoteAlgorithm(kind) is NoteAlgorithm.ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(encoded)
    key = serialization.load_der_public_key(encoded)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("type 2 is an ECDSA key")  # noqa: TRY004 - the type is the input's
    return key


def _bad_text(text: str) -> bool:
    return _CONTROL.search(text) is not None or "\n" in text


def _parse_line(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None or not is_key_name(match[1]):
        raise NoteMalformed("a signature line is a dash, a name and base64")
    try:
        data = strict_base64(match[2])
    except ValueError as error:
        raise NoteMalformed("a signature is not base64") from error
    if len(data) <= KEY_ID_BYTES:
        raise NoteMalformed("a signature is longer than its key id")
    return NoteSignature(match[1], data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])
