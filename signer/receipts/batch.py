"""The order of a batch and its final entry bytes, decided in pure code inside one transaction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from signer.receipts.leaf import BallotLeaf, CloseLeaf

Shuffle = Callable[[list["PendingBallot"]], None]


@dataclass(frozen=True, slots=True)
class PendingBallot:
    """An accepted ballot without a place in the log.

    Attributes:
        submission_id: names the registration.
        commitment: 32 bytes.
        accepted_slot: unix time / 600.
    """

    submission_id: str
    commitment: bytes
    accepted_slot: int


@dataclass(frozen=True, slots=True)
class ClosingFigures:
    """What the order to close hands in.

    Attributes:
        no_vote_root: 32 bytes.
        no_vote_size: number of leaves.
    """

    no_vote_root: bytes
    no_vote_size: int


@dataclass(frozen=True, slots=True)
class BatchView:
    """What the sequencing transaction sees.

    Attributes:
        pending: accepted ballots without a place, at most the batch limit, in any order.
        more_pending: whether there are others beside these.
        next_seq: the log's number of entries.
        closing: set once the election is ordered to close.
    """

    pending: tuple[PendingBallot, ...]
    more_pending: bool
    next_seq: int
    closing: ClosingFigures | None


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry with its place.

    Attributes:
        seq: the index.
        entry: the final bytes.
        submission_id: the ballot's registration; None for the close record.
    """

    seq: int
    entry: bytes
    submission_id: str | None


def plan_batch(
    view: BatchView, *, election_id: str, manifest_sha256: bytes, shuffle: Shuffle
) -> Sequence[NewEntry]:
    """Give each pending ballot a place, in shuffled order; close the log behind the last one.

    Args:
        view: what is pending.
        election_id: stated by each entry.
        manifest_sha256: stated by each entry, 32 bytes.
        shuffle: shuffles a list in place, from a cryptographic source.
    """
    pending = list(view.pending)
    shuffle(pending)
    entries = []
    for seq, ballot in enumerate(pending, view.next_seq):
        leaf = BallotLeaf(
            election_id, manifest_sha256, seq, ballot.commitment, ballot.accepted_slot
        )
        entries.append(NewEntry(seq, leaf.encode(), ballot.submission_id))
    if view.closing is not None and not view.more_pending:
        seq = view.next_seq + len(pending)
        close = CloseLeaf(
            election_id=election_id,
            manifest_sha256=manifest_sha256,
            seq=seq,
            no_vote_root=view.closing.no_vote_root,
            no_vote_size=view.closing.no_vote_size,
            count=seq - 1,
        )
        entries.append(NewEntry(seq, close.encode(), None))
    return entries
