"""The revocation lists that the listener gives out: part of the wiring.

A list may have megabytes, and most who ask have it already. So each request asks the database only
which list is the newest; its bytes, and the hash that names them, are read once for each version
and process.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.errors import ResponderMisconfigured
from ocsp.responder.crl_issuing import key_identifier, key_named_in
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
        key_identifier: of the key that both name as their own; None if they name none.
        complete: the complete list.
        delta: the delta list; None where none are made.
    """

    version: CrlVersion
    key_identifier: bytes | None
    complete: Crl
    delta: Crl | None


class CrlSource:
    """Where a CA's lists are, and the certificates of their keys; safe for threads.

    Args:
        crls: what is published.
        certificates: of the keys of the lists: those that sign, and those that did before.

    Raises:
        ResponderMisconfigured: two keys have one identifier, or one has none.
    """

    def __init__(self, crls: SqlCrlStore, certificates: Iterable[x509.Certificate]) -> None:
        self._crls = crls
        self._kept: NewestLists | None = None
        self._certificates: dict[bytes, x509.Certificate] = {}
        for certificate in certificates:
            known = self._certificates.setdefault(key_identifier(certificate), certificate)
            if known.public_key() != certificate.public_key():
                raise ResponderMisconfigured(
                    "two keys of lists have the same identifier: have the CA certify one anew"
                )

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

    def certificate(self) -> bytes | None:
        """DER of the certificate that verifies the newest list; None if there is none here.

        Raises:
            AnswersOnHold, StorageError: as `newest`.
        """
        newest = self.newest()
        if newest is None or newest.key_identifier is None:
            return None
        found = self._certificates.get(newest.key_identifier)
        return None if found is None else found.public_bytes(Encoding.DER)

    def _read(self) -> NewestLists | None:
        read = self._crls.newest()
        if read is None:
            return None
        version = CrlVersion(read.number, read.this_update, read.next_update)
        delta = None if read.delta is None else _crl(read.delta, version)
        return NewestLists(
            version, key_named_in(read.complete), _crl(read.complete, version), delta
        )


def _crl(der: bytes, version: CrlVersion) -> Crl:
    return Crl(der, sha256(der).hexdigest(), version.this_update, version.next_update)
