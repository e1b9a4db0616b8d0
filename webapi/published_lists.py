"""The revocation lists that the listener gives out: part of the wiring.

A list may have megabytes, and most who ask have it already. So each request asks the database only
which list is the newest; its bytes, and the hash that names them, are read once for each version
and process.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.responder.crl_issuing import CrlIssuer, signer_of
from signer.rotation import Rotated
from webapi.storage.crls import CrlVersion, SqlCrlStore


@dataclass(frozen=True, slots=True)
class Crl:
    """A revocation list to give out.

    Attributes:
        der: the CertificateList.
        etag: names these bytes and no others (RFC 9110 section 8.8.3).
        this_update: of the list.
        next_update: of the list.
    """

    der: bytes = field(repr=False)
    etag: str
    this_update: datetime
    next_update: datetime


@dataclass(frozen=True, slots=True)
class NewestLists:
    """What is published now.

    Attributes:
        version: of both.
        signer: the identifier of the key that signed both.
        complete: the complete list.
        delta: the delta list; None where none are made.
    """

    version: CrlVersion
    signer: bytes | None
    complete: Crl
    delta: Crl | None


class CrlSource:
    """Where a CA's lists are, and the certificates of their keys; safe for threads.

    Args:
        issuers: whose keys sign, one after the other.
        crls: what is published.
        clock: gives aware UTC.
    """

    def __init__(
        self, issuers: Rotated[CrlIssuer], crls: SqlCrlStore, clock: Callable[[], datetime]
    ) -> None:
        self._issuers = issuers
        self._crls = crls
        self._clock = clock
        self._kept: NewestLists | None = None

    def newest(self) -> NewestLists | None:
        """The lists; None before the first.

        Raises:
            AnswersOnHold: nothing is said of any certificate.
            StorageError: another subclass: they cannot be read now.
        """
        version = self._crls.newest_version()
        if version is None:
            return None
        # Number and times: no number is given twice, save by a database that was put back on a
        # machine whose clock was, too.
        kept = self._kept
        if kept is None or kept.version != version:
            kept = self._kept = self._read()
        return kept

    def certificate(self) -> bytes:
        """DER of the certificate that verifies the newest list; before the first, the next one's.

        Raises:
            AnswersOnHold, StorageError: as `newest`.
        """
        newest = self.newest()
        issuer = self._issuers.current(self._clock())
        for known in self._issuers.items.values():
            if newest is not None and newest.signer == known.key_identifier:
                issuer = known
        return issuer.certificate.public_bytes(Encoding.DER)

    def _read(self) -> NewestLists | None:
        read = self._crls.newest()
        if read is None:
            return None
        version = CrlVersion(read.number, read.this_update, read.next_update)
        delta = None if read.delta is None else _crl(read.delta, version)
        return NewestLists(version, signer_of(read.complete), _crl(read.complete, version), delta)


def _crl(der: bytes, version: CrlVersion) -> Crl:
    return Crl(der, sha256(der).hexdigest(), version.this_update, version.next_update)
