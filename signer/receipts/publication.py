"""When the public may see how far the log has grown: by epoch, never by ballot.

A voter's receipt goes out at once. If the public checkpoint moved as fast, whoever
watches the network could tell the entry of each voter.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """How far the public sees.

    Attributes:
        size: the published checkpoint's size; 0 before the genesis record's.
        epoch: the number of the epoch in which it was published.
    """

    size: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Signed:
    """How far the log is signed and its receipts released.

    Attributes:
        size: the newest checkpoint's size.
        closed: whether its last entry is the close record.
    """

    size: int
    closed: bool


def size_to_publish(signed: Signed, published: Published, *, epoch: int, least: int) -> int | None:
    """The checkpoint to publish now, by its size; None for no change.

    1. The genesis record's checkpoint is published at once: it tells of no ballot.
    2. So is the closing one: nothing comes after it that could hide a ballot.
    3. Else once per epoch, and with `least` new ballots or more.

    Args:
        signed: how far the log is signed.
        published: how far the public sees.
        epoch: the number of the present epoch: unix time / its length.
        least: the number of ballots that are published together at least.
    """
    if signed.size <= published.size:
        return None
    if published.size == 0:
        return 1
    if signed.closed:
        return signed.size
    if epoch > published.epoch and signed.size - published.size >= least:
        return signed.size
    return None
