"""When the public may see how far the log has grown: by epoch, never by ballot.

A voter's receipt goes out at once. If the public checkpoint moved as fast, or at the moment of
any one ballot, whoever watches the network could tell the entry of that voter. So the public
size is judged once per epoch, by what was signed before the epoch began.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Published:
    """How far the public sees.

    Attributes:
        size: the published checkpoint's size; 0 before the genesis record's.
        epoch: the beginning of the epoch that was judged last, unix time.
    """

    size: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Released:
    """How far the log's receipts are released.

    Attributes:
        size: size of the newest checkpoint whose receipts may go out.
        closed: whether its last entry is the close record.
    """

    size: int
    closed: bool


def epoch_of(at: datetime, length: timedelta) -> int:
    """The beginning of the epoch of an instant, unix time; it tells of no ballot."""
    seconds = int(at.timestamp())
    return seconds - seconds % int(length.total_seconds())


def judge_publication(
    released: Released, published: Published, *, epoch: int, least: int
) -> Published | None:
    """How far the public sees from now on; None for no change, not even of what was judged.

    1. The genesis record's checkpoint is published at once: it tells of no ballot.
    2. So is the closing one: nothing comes after it that could hide a ballot.
    3. Else an epoch is judged once, whatever comes of it: with fewer than `least` new ballots
       the public waits for the next epoch, not for the ballot that completes them.

    Args:
        released: how far receipts were released before anything was signed in this epoch.
        published: how far the public sees.
        epoch: the beginning of the present epoch, unix time.
        least: the number of ballots that are published together at least.
    """
    if published.size == 0:
        return Published(1, epoch) if released.size else None
    if released.closed:
        return Published(released.size, epoch) if released.size > published.size else None
    if epoch <= published.epoch:
        return None
    enough = released.size - published.size >= least
    return Published(released.size if enough else published.size, epoch)
