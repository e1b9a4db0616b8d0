"""Makes a CA's revocation lists when they are due: part of the wiring.

A list is due when a certificate was suspended, restored or revoked, by the clock well before the
last one ends, and when another key begins to sign. All but the first begin a series: the delta
lists after it tell what changed since.
"""

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
)
from ocsp.responder.presigning import refresh_due
from ocsp.responder.statuses import IssuedRevoked, IssuedSuspended
from webapi.ocsp_service import status_of
from webapi.storage.certificates import CertificateRecord, SqlCertificateStore
from webapi.storage.crls import CrlTurn, PublishedCrl, SqlCrlStore


class CrlPublisher:
    """Makes the lists of one CA.

    Args:
        issuer: signs.
        ca: the CA's name.
        crls: what is published.
        certificates: what the CA issued.
        validity: of a list, from thisUpdate to nextUpdate; ends earlier with the certificate of
            the lists' key.
        delta_url: where delta lists are published; None: none are made.
        require_agreement: raises where the records are not today's.
        clock: gives aware UTC.
    """

    def __init__(
        self,
        issuer: CrlIssuer,
        ca: str,
        crls: SqlCrlStore,
        certificates: SqlCertificateStore,
        *,
        validity: timedelta,
        delta_url: str | None,
        require_agreement: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._issuer = issuer
        self._ca = ca
        self._crls = crls
        self._certificates = certificates
        self._validity = validity
        self._delta_url = delta_url
        self._require_agreement = require_agreement
        self._clock = clock
        self._has_begun = False

    def run_once(self) -> None:
        """Make and publish the list that is due, if one is.

        Raises:
            ResponderMisconfigured: the certificate of the lists' key is not valid now.
            StorageError, pkcs11_bridge.errors.TokenError, signer.errors.PermitError: no list was
                published; it stays due.
        """
        at = self._clock().replace(microsecond=0)
        turn = self._crls.take_turn(at, begins_series=self._is_to_begin())
        if turn is None:
            return
        try:
            self._publish(turn, at)
        except Exception:
            # The next try need not wait until the turn is over.
            self._crls.give_back(turn)
            raise
        self._has_begun = True

    def _is_to_begin(self) -> bool:
        """Whether the newest list is still another key's.

        Once it is this one's, that is never asked again: two listeners that differ for a while on
        which key is current make no lists against each other.
        """
        if not self._has_begun:
            newest = self._crls.newest()
            self._has_begun = newest is None or self._issuer.has_signed(newest.complete)
        return not self._has_begun

    def _publish(self, turn: CrlTurn, at: datetime) -> None:
        # What had expired before the last list that the clock asked for was on it, and is on none
        # any more (RFC 5280 section 3.3). That list may be of a clock that was ahead: what is valid
        # now is on every list.
        expired = None if turn.base is None else min(turn.base.this_update, at)
        records = self._certificates.listed(self._ca, not_expired_before=expired)
        self._require_agreement()
        if not self._issuer.can_sign(at):
            raise ResponderMisconfigured("the CRL certificate is not valid now")
        crl = self._made(turn, {record.serial: _listed(record) for record in records}, at)
        begins_series = crl.base_number == crl.number
        refresh_at = refresh_due(crl.this_update, crl.next_update) if begins_series else None
        self._crls.publish(turn, crl, refresh_at=refresh_at)

    def _made(self, turn: CrlTurn, listed: Mapping[int, Listed], at: datetime) -> PublishedCrl:
        times = CrlTimes(turn.number, at, self._issuer.end_of(at, self._validity))
        is_of_series = not (turn.is_scheduled or self._delta_url is None)
        return PublishedCrl(
            number=turn.number,
            base_number=turn.base.number if is_of_series and turn.base else turn.number,
            this_update=times.this_update,
            next_update=times.next_update,
            complete=complete_crl(self._issuer, listed, times, delta_url=self._delta_url),
            delta=self._delta(turn, listed, times),
        )

    def _delta(self, turn: CrlTurn, listed: Mapping[int, Listed], times: CrlTimes) -> bytes | None:
        base, last = turn.base, turn.last
        if self._delta_url is None:
            return None
        if base is None or last is None or not self._issuer.has_signed(base.complete):
            # The first complete list of a key names the address of deltas, so one is there: it
            # changes nothing, and bears the number of the list made with it (RFC 5280 section
            # 5.2.3). It cannot change another key's (section 6.3.3 (c) (3)).
            return delta_crl(self._issuer, {}, times, base_number=times.number)
        is_of_series = last.number != base.number and last.delta is not None
        last_delta = entries_of(last.delta) if is_of_series and last.delta else {}
        changed = changes_since(entries_of(base.complete), last_delta, listed)
        return delta_crl(self._issuer, changed, times, base_number=base.number)


def _listed(record: CertificateRecord) -> Listed:
    status = status_of(record)
    if not isinstance(status, IssuedRevoked | IssuedSuspended):
        raise TypeError(f"{record.serial:x} is {record.state} and belongs on no list")
    return status
