"""Makes a CA's revocation lists when they are due: part of the wiring.

A list is due when a certificate was suspended, restored or revoked, by the clock well before the
last one ends, and when another key begins to sign. All but the first begin a series: the delta
lists after it tell what changed since.
"""

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from ocsp.errors import ResponderMisconfigured
from ocsp.responder.crl_issuing import (
    CrlIssuer,
    CrlTimes,
    Listed,
    changes_since,
    complete_crl,
    delta_crl,
    entries_of,
    key_identifier,
)
from ocsp.responder.presigning import refresh_due
from ocsp.responder.statuses import IssuedRevoked, IssuedSuspended
from signer.rotation import Rotated
from webapi.ocsp_service import status_of
from webapi.published_lists import CrlSource
from webapi.storage.certificates import CertificateRecord, SqlCertificateStore
from webapi.storage.crls import CrlTurn, PublishedCrl, SqlCrlStore

SUCCESSION_REST = timedelta(minutes=5)
"""A list of another key is replaced when it is so old: hosts that differ for a while on which key
is current, at a reload or by their clocks, make no more lists than that against each other."""


class CrlPublisher:
    """Makes the lists of one CA.

    Args:
        issuers: sign, one after the other.
        ca: the CA's name.
        source: gives what is published.
        crls: keeps what is published.
        certificates: what the CA issued.
        validity: of a list, from thisUpdate to nextUpdate; ends earlier with the certificate of
            the lists' key.
        delta_url: where delta lists are published; None: none are made.
        require_agreement: raises where the records are not today's.
        clock: gives aware UTC.
        stopwatch: monotonic seconds.
    """

    def __init__(
        self,
        issuers: Rotated[CrlIssuer],
        ca: str,
        source: CrlSource,
        crls: SqlCrlStore,
        certificates: SqlCertificateStore,
        *,
        validity: timedelta,
        delta_url: str | None,
        require_agreement: Callable[[], None],
        clock: Callable[[], datetime],
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuers = issuers
        self._ca = ca
        self._source = source
        self._crls = crls
        self._certificates = certificates
        self._validity = validity
        self._delta_url = delta_url
        self._require_agreement = require_agreement
        self._clock = clock
        self._stopwatch = stopwatch
        self._rests_until = 0.0

    def run_once(self) -> None:
        """Make and publish the list that is due, if one is.

        Raises:
            ResponderMisconfigured: the certificate of the lists' key is not valid now.
            StorageError, pkcs11_bridge.errors.TokenError, signer.errors.PermitError: no list was
                published; it stays due.
        """
        at = self._clock().replace(microsecond=0)
        issuer = self._issuers.current(at)
        replaces = self._list_of_another(issuer, at)
        turn = self._crls.take_turn(at, replaces=replaces)
        if turn is None:
            return
        try:
            self._publish(turn, issuer, at)
        except Exception:
            # The next try need not wait until the turn is over.
            self._crls.give_back(turn)
            raise
        if replaces is not None:
            self._rests_until = self._stopwatch() + SUCCESSION_REST.total_seconds()

    def _list_of_another(self, issuer: CrlIssuer, at: datetime) -> int | None:
        """The number of the newest list, if it is another key's and has had its time."""
        newest = self._source.newest()
        if newest is None or newest.key_identifier == key_identifier(issuer.certificate):
            return None
        # How old it is, two hosts whose clocks are far apart do not agree on: this one rests, too.
        is_old = newest.version.this_update + SUCCESSION_REST <= at
        return newest.version.number if is_old and self._stopwatch() >= self._rests_until else None

    def _publish(self, turn: CrlTurn, issuer: CrlIssuer, at: datetime) -> None:
        records = self._certificates.listed(self._ca, not_expired_before=self._expired(turn, at))
        self._require_agreement()
        if not issuer.can_sign(at):
            raise ResponderMisconfigured("the CRL certificate is not valid now")
        crl = self._made(turn, issuer, {record.serial: _listed(record) for record in records}, at)
        begins_series = crl.base_number == crl.number
        refresh_at = refresh_due(crl.this_update, crl.next_update) if begins_series else None
        self._crls.publish(turn, crl, refresh_at=refresh_at)

    def _expired(self, turn: CrlTurn, at: datetime) -> datetime | None:
        """What had expired by then is on no list any more (RFC 5280 section 3.3).

        It was on lists for the life of one since. The base may be of a clock that was ahead: what
        is valid now is on every list.
        """
        if turn.base is None:
            return None
        life = max(self._validity, turn.base.next_update - turn.base.this_update)
        return min(turn.base.this_update - life, at)

    def _made(
        self, turn: CrlTurn, issuer: CrlIssuer, listed: Mapping[int, Listed], at: datetime
    ) -> PublishedCrl:
        times = CrlTimes(turn.number, at, issuer.end_of(at, self._validity))
        base = self._base_for(turn, issuer)
        is_of_series = not (turn.is_scheduled or self._delta_url is None or base is None)
        return PublishedCrl(
            number=turn.number,
            base_number=base.number if is_of_series and base else turn.number,
            this_update=times.this_update,
            next_update=times.next_update,
            complete=complete_crl(issuer, listed, times, delta_url=self._delta_url),
            delta=None if self._delta_url is None else _delta(turn, base, issuer, listed, times),
        )

    def _base_for(self, turn: CrlTurn, issuer: CrlIssuer) -> PublishedCrl | None:
        """What a delta list of this issuer may change: a list by the same key alone.

        RFC 5280 section 5.2.4, which asks that of whoever issues them.
        """
        base = turn.base
        return base if base is not None and issuer.is_named_in(base.complete) else None


def _delta(
    turn: CrlTurn,
    base: PublishedCrl | None,
    issuer: CrlIssuer,
    listed: Mapping[int, Listed],
    times: CrlTimes,
) -> bytes:
    last = turn.last
    if base is None or last is None:
        # A key's first complete list names the address of deltas, so one is there: it changes
        # nothing, and bears the number of the list made with it (RFC 5280 section 5.2.3).
        return delta_crl(issuer, {}, times, base_number=times.number)
    is_of_series = last.number != base.number and last.delta is not None
    last_delta = entries_of(last.delta) if is_of_series and last.delta else {}
    changed = changes_since(entries_of(base.complete), last_delta, listed)
    return delta_crl(issuer, changed, times, base_number=base.number)


def _listed(record: CertificateRecord) -> Listed:
    status = status_of(record)
    if not isinstance(status, IssuedRevoked | IssuedSuspended):
        raise TypeError(f"{record.serial:x} is {record.state} and belongs on no list")
    return status
