"""The revocation lists that the listener gives out: part of the wiring.

A list may have megabytes, and most who ask have it already. So each request asks the database only
which list is the newest; its bytes, and the hash that names them, are read once for each version
and process.
"""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

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
class _Lists:
    version: CrlVersion
    complete: Crl
    delta: Crl | None


class CrlSource:
    """Where a CA's lists are; safe for threads.

    Args:
        certificate: DER of the certificate of the lists' key.
        crls: what is published.
    """

    def __init__(self, certificate: bytes, crls: SqlCrlStore) -> None:
        self.certificate = certificate
        self._crls = crls
        self._kept: _Lists | None = None

    def newest(self) -> tuple[Crl, Crl | None] | None:
        """The complete and the delta list, if one is made; None before the first.

        Raises:
            AnswersOnHold: nothing is said of any certificate.
            StorageError: another subclass: they cannot be read now.
        """
        version = self._crls.newest_version()
        if version is None:
            return None
        kept = self._kept
        # Number and times: no number is given twice, save by a database that was put back on a
        # machine whose clock was, too.
        if kept is None or kept.version != version:
            kept = self._read()
            if kept is None:
                return None
            self._kept = kept
        return kept.complete, kept.delta

    def _read(self) -> _Lists | None:
        read = self._crls.newest()
        if read is None:
            return None
        version = CrlVersion(read.number, read.this_update, read.next_update)
        delta = None if read.delta is None else _crl(read.delta, version)
        return _Lists(version, _crl(read.complete, version), delta)


def _crl(der: bytes, version: CrlVersion) -> Crl:
    return Crl(der, sha256(der).hexdigest(), version.this_update, version.next_update)
