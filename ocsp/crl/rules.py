"""How an issuer's certificate revocation lists are had and believed: a part of its profile."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from ocsp.certificate import read_certificate
from ocsp.errors import CertificateRefused, ConfigurationInvalid


class StatusOrder(StrEnum):
    """Who says a certificate's status; the second is asked only if the first says nothing."""

    OCSP = "ocsp"
    OCSP_THEN_CRL = "ocsp-then-crl"
    CRL_THEN_OCSP = "crl-then-ocsp"
    CRL_ONLY = "crl-only"

    @property
    def asks_responders(self) -> bool:
        """The issuer's OCSP responders are asked, first or second."""
        return self is not StatusOrder.CRL_ONLY

    @property
    def reads_lists(self) -> bool:
        """The issuer's CRLs are read, first or second."""
        return self is not StatusOrder.OCSP


@dataclass(frozen=True, slots=True)
class CrlRules:
    """Where lists are published, and how old they may be.

    Attributes:
        urls: of the complete, delta and partial lists; a certificate's own distribution points
            say which list covers it, and are never dialled.
        signers: DER of the certificates that lists are signed by, if not by CAs of the store.
        max_age: oldest acceptable thisUpdate, whatever nextUpdate says.
        refresh: pause between two fetches.
        max_bytes: cap of one list.
        timeout: for one fetch.
    """

    urls: tuple[str, ...]
    signers: tuple[bytes, ...] = ()
    max_age: timedelta = timedelta(days=7)
    refresh: timedelta = timedelta(minutes=15)
    max_bytes: int = 33_554_432
    timeout: timedelta = timedelta(seconds=60)

    def __post_init__(self) -> None:
        if not self.urls or len(set(self.urls)) < len(self.urls):
            raise ConfigurationInvalid("CRL rules without a URL, or with one twice")
        for der in self.signers:
            _require_certificate(der)
        for text in self.urls:
            url = urlsplit(text)
            if url.scheme not in {"http", "https"} or not url.hostname:
                raise ConfigurationInvalid(f"{text!r} is no http(s) URL of a CRL")
        if min(self.max_age, self.refresh, self.timeout) <= timedelta(0) or self.max_bytes < 1:
            raise ConfigurationInvalid("CRL rules need positive times and room for a list")


@dataclass(frozen=True, slots=True)
class AuthorityStatusUnpublished:
    """Nobody says whether the CA certificates above the issuer are still good.

    Attributes:
        reason: how the operator knows that there are no lists of them, for people.
    """

    reason: str

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ConfigurationInvalid("no status of CA certificates, and no reason for it")


def _require_certificate(der: bytes) -> None:
    try:
        read_certificate(der)
    except CertificateRefused as e:
        raise ConfigurationInvalid(f"the certificate of a CRL's signer is refused: {e}") from e
