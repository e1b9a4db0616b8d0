"""Log entries: the genesis record, a ballot's record, the close record.

Each is a deterministic CBOR array whose first item names its format; see
`docs/receipt-format.md`. An entry says nothing of vote or voter.
"""

import hashlib
import re
from dataclasses import dataclass

from signer.receipts.cbor import decode_array, encode_array
from signer.receipts.errors import CborNotDeterministic, LeafMalformed

GENESIS_FORMAT = "mn.genesis/1"
BALLOT_FORMAT = "mn.ballot-receipt/1"
CLOSE_FORMAT = "mn.close/1"
COMMIT_LABEL = b"mn.ballot-commit/1\x00"

DIGEST_BYTES = 32
SALT_BYTES = 32
SLOT_SECONDS = 600

_ELECTION_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_MAX_COUNT = 2**63 - 1


def commit(salt: bytes, ballot_sha256: bytes) -> bytes:
    """The commitment that an entry makes to a ballot, 32 bytes.

    Args:
        salt: 32 random bytes that only the receipt's holder and the service have.
        ballot_sha256: SHA-256 of the sealed ballot's bytes.
    """
    if len(salt) != SALT_BYTES or len(ballot_sha256) != DIGEST_BYTES:
        raise ValueError("salt and ballot hash have 32 bytes each")
    return hashlib.sha256(COMMIT_LABEL + salt + ballot_sha256).digest()


def is_election_id(text: str) -> bool:
    """Whether the text has the form of an election id: 1 to 64 of a-z, 0-9 and inner hyphens."""
    return _ELECTION_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class GenesisLeaf:
    """Entry 0 of a log; it fixes the manifest.

    Attributes:
        election_id: the election's name in paths and origins.
        manifest_sha256: 32 bytes.
    """

    election_id: str
    manifest_sha256: bytes

    def __post_init__(self) -> None:
        _check_common(self.election_id, self.manifest_sha256)

    def encode(self) -> bytes:
        """The entry's bytes."""
        return encode_array([GENESIS_FORMAT, self.election_id, self.manifest_sha256])


@dataclass(frozen=True, slots=True)
class BallotLeaf:
    """The entry of one accepted ballot.

    Attributes:
        election_id: the election.
        manifest_sha256: 32 bytes.
        seq: the entry's index in the log, at least 1.
        commitment: 32 bytes, see `commit`.
        accepted_slot: unix time / 600, rounded down: coarse and advisory.
    """

    election_id: str
    manifest_sha256: bytes
    seq: int
    commitment: bytes
    accepted_slot: int

    def __post_init__(self) -> None:
        _check_common(self.election_id, self.manifest_sha256)
        _check_digest(self.commitment)
        _check_count(self.seq, least=1)
        _check_count(self.accepted_slot, least=0)

    def encode(self) -> bytes:
        """The entry's bytes."""
        return encode_array(
            [
                BALLOT_FORMAT,
                self.election_id,
                self.manifest_sha256,
                self.seq,
                self.commitment,
                self.accepted_slot,
            ]
        )


@dataclass(frozen=True, slots=True)
class CloseLeaf:
    """The last entry of a log.

    Attributes:
        election_id: the election.
        manifest_sha256: 32 bytes.
        seq: the entry's index.
        no_vote_root: 32 bytes, handed in by the election system.
        no_vote_size: number of leaves of that tree.
        count: number of ballots in this log.
    """

    election_id: str
    manifest_sha256: bytes
    seq: int
    no_vote_root: bytes
    no_vote_size: int
    count: int

    def __post_init__(self) -> None:
        _check_common(self.election_id, self.manifest_sha256)
        _check_digest(self.no_vote_root)
        _check_count(self.seq, least=1)
        _check_count(self.no_vote_size, least=0)
        _check_count(self.count, least=0)
        if self.count != self.seq - 1:
            raise LeafMalformed("the entries between genesis and close are the ballots")

    def encode(self) -> bytes:
        """The entry's bytes."""
        return encode_array(
            [
                CLOSE_FORMAT,
                self.election_id,
                self.manifest_sha256,
                self.seq,
                self.no_vote_root,
                self.no_vote_size,
                self.count,
            ]
        )


Leaf = GenesisLeaf | BallotLeaf | CloseLeaf


def decode_leaf(data: bytes) -> Leaf:
    """The entry that these bytes are.

    Raises:
        LeafMalformed: they are not exactly one of the three records.
    """
    try:
        items = decode_array(data)
    except CborNotDeterministic as error:
        raise LeafMalformed("the entry is not a deterministic CBOR array") from error
    match items:
        case (str(form), str(election), bytes(manifest)) if form == GENESIS_FORMAT:
            return GenesisLeaf(election, manifest)
        case (str(form), str(election), bytes(manifest), int(seq), bytes(value), int(slot)) if (
            form == BALLOT_FORMAT
        ):
            return BallotLeaf(election, manifest, seq, value, slot)
        case (
            str(form),
            str(election),
            bytes(manifest),
            int(seq),
            bytes(root),
            int(size),
            int(count),
        ) if form == CLOSE_FORMAT:
            return CloseLeaf(election, manifest, seq, root, size, count)
    raise LeafMalformed("the entry's items are not those of a known format")


def _check_common(election_id: str, manifest_sha256: bytes) -> None:
    if not is_election_id(election_id):
        raise LeafMalformed("the election id is malformed")
    _check_digest(manifest_sha256)


def _check_digest(value: bytes) -> None:
    if len(value) != DIGEST_BYTES:
        raise LeafMalformed("a hash has 32 bytes")


def _check_count(value: int, *, least: int) -> None:
    if not least <= value <= _MAX_COUNT:
        raise LeafMalformed("a number is out of its range")
