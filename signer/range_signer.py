"""Signs payloads under ranges of permits: no commit on the way of a signature.

Only when a range is reserved does anybody wait for the database, and a busy purpose reserves
the next range in the background before the present one is used up.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from signer.backend import Signature, SigningBackend
from signer.errors import PermitExpired, PermitForked, PermitUnknown, RangeEndsLost, RangeUsedUp
from signer.payload import Payload, Purpose
from signer.permit import SigningPermit
from signer.permit_range import PermitRange, RangeEnd, RangeLedger, reserve_range
from signer.verify import PublicKey

MAX_KEPT_ENDS = 1_000
"""So many ends of ranges wait in memory for a ledger that does not take them."""

RETRY_AHEAD = timedelta(seconds=1)
"""So long after a reservation in the background has failed, the next one is tried."""

Failed = Callable[[Exception], None]


@dataclass(frozen=True, slots=True)
class RangeTerms:
    """How large a purpose's ranges are.

    Attributes:
        count: signatures in one range; what a crash leaves unclosed counts as used, so this
            is also how many signatures the audit may have to leave open for each crash.
        life: how long a range gives permits.
        ahead: when so many numbers are left, the next range is reserved in the background; 0
            where nobody minds the wait for a commit.
    """

    count: int
    life: timedelta
    ahead: int


LOGIN_CHALLENGE_RANGE = RangeTerms(256, timedelta(minutes=10), ahead=0)
"""One fills an empty stock of the usual size; the worker signs them, and nobody waits for it."""

OCSP_RANGE = RangeTerms(4096, timedelta(minutes=10), ahead=1024)
"""About a second of what a software token signs: a commit per second at most, and a quarter of
a second for the next range to become durable. A quiet responder reserves one in ten minutes."""

CRL_RANGE = RangeTerms(1, timedelta(minutes=1), ahead=0)
"""A list is rare and large: each signature has a record of its own."""


class RangeSigner:
    """`signer.backend.PayloadSigner` for one purpose and owner.

    Args:
        backend: holds the key.
        ledger: records ranges.
        purpose: names the key.
        owner: for whom is signed.
        terms: size and life of the ranges.
        failed: is told what went wrong in the background, where nobody else hears of it.
        stopwatch: monotonic seconds.
    """

    def __init__(
        self,
        backend: SigningBackend,
        ledger: RangeLedger,
        *,
        purpose: Purpose,
        owner: str,
        terms: RangeTerms,
        failed: Failed,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._ledger = ledger
        self._purpose = purpose
        self._owner = owner
        self._terms = terms
        self._failed = failed
        self._stopwatch = stopwatch
        self._lock = threading.Lock()
        self._current: PermitRange | None = None
        self._next: PermitRange | None = None
        self._over: list[PermitRange] = []
        self._ends: list[RangeEnd] = []
        # One thread, made when it is first needed: ahead of time is early enough.
        self._background = ThreadPoolExecutor(1, thread_name_prefix="permit-range")
        self._is_preparing = False
        self._is_closed = False
        self._not_before: datetime | None = None

    def public_key(self, purpose: Purpose) -> PublicKey:
        """The public key of a purpose; raises NoKeyForPurpose."""
        return self._backend.public_key(purpose)

    def sign(self, payload: Payload, *, owner: str, at: datetime) -> Signature:
        """Sign one payload for the owner.

        Raises:
            PermitMismatch: another purpose or owner than this signer's.
            PermitError: a range could not be had.
            OwnSignatureInvalid: the token's answer did not verify.
            NoKeyForPurpose: the backend does not hold the key.
        """
        try:
            return self._backend.sign(self._permit(payload, owner, at), payload, at=at)
        except PermitExpired:  # its range ended in between; the next one's has all its life
            return self._backend.sign(self._permit(payload, owner, at), payload, at=at)

    def close(self) -> None:
        """Close the ranges and record what became of them; nothing is signed any more."""
        with self._lock:
            self._is_closed = True
        self._background.shutdown()
        with self._lock:
            self._over += [kept for kept in (self._current, self._next) if kept is not None]
            self._current = self._next = None
        self._record_ends()

    def _permit(self, payload: Payload, owner: str, at: datetime) -> SigningPermit:
        used_up: PermitRange | None = None
        while True:
            current = self._present(used_up, at)
            try:
                permit = current.take(payload, owner=owner, at=at)
            except (RangeUsedUp, PermitExpired):
                used_up = current
                continue
            if current.left <= self._terms.ahead:
                self._prepare_next(at)
            return permit

    def _present(self, used_up: PermitRange | None, at: datetime) -> PermitRange:
        """The range to take from, which is not the one that was used up."""
        current = self._current
        if current is not None and current is not used_up:
            return current
        with self._lock:
            if self._is_closed:
                raise RangeUsedUp("this signer was closed")
            current = self._current
            if current is None or current is used_up:  # no other thread put a new one there
                following = self._next or self._reserve(at)
                if current is not None:
                    self._over.append(current)
                self._current, self._next = following, None
                current = following
            is_quiet = not self._terms.ahead
            if self._over and not is_quiet:
                self._background.submit(self._record_ends)
        if is_quiet:
            self._record_ends()
        return current

    def _prepare_next(self, at: datetime) -> None:
        """Have the next range reserved in the background, unless it is there or was just tried."""
        if self._next is not None or self._is_preparing or not self._terms.ahead:
            return
        pause = self._not_before
        if pause is not None and pause - RETRY_AHEAD <= at < pause:
            return
        with self._lock:
            if self._next is None and not self._is_preparing and not self._is_closed:
                self._is_preparing = True
                self._background.submit(self._reserve_next, at)

    def _reserve_next(self, at: datetime) -> None:
        try:
            reserved = self._reserve(at)
        except Exception as error:  # noqa: BLE001 - whatever it is, a signature may yet wait for it
            self._not_before = at + RETRY_AHEAD
            self._failed(error)
        else:
            with self._lock:
                self._next = reserved
        finally:
            self._is_preparing = False

    def _reserve(self, at: datetime) -> PermitRange:
        return reserve_range(
            self._purpose,
            owner=self._owner,
            count=self._terms.count,
            ledger=self._ledger,
            at=at,
            life=self._terms.life,
            stopwatch=self._stopwatch,
        )

    def _record_ends(self) -> None:
        """Tell the ledger; what it cannot take now is told with the next one.

        What it will never take is given up: a range that stays open counts as used.
        """
        with self._lock:
            over, self._over = self._over, []
            ends, self._ends = self._ends, []
        for numbers in over:
            try:
                ends.append(numbers.close())
            except PermitForked as error:  # its end is its own process's to tell
                self._failed(error)
        while ends:
            try:
                self._ledger.end_range(ends[0])
            except PermitUnknown as error:
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - the database may be there again soon
                self._failed(error)
                break
            ends.pop(0)
        with self._lock:
            self._ends += ends
            lost = len(self._ends) - MAX_KEPT_ENDS
            del self._ends[: max(lost, 0)]
        if lost > 0:
            self._failed(RangeEndsLost(f"{lost} range(s) stay open, as if used to their ends"))
