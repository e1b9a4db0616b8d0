"""A CA's office that publishes revocation lists: its clock stands until a test moves it."""

from datetime import timedelta

from cryptography import x509
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from ocsp.responder.answering import ResponderCa
from ocsp.responder.crl_issuing import CrlIssuer, entries_of
from ocsp.responder.statuses import IssuedSuspended
from signer.rotation import Rotated, only_key
from tests.support.certificates import NOW, development_like_pki, issue, lists_spec
from webapi.crl_publishing import CrlPublisher
from webapi.limits import RateLimit, SourceLimiter
from webapi.ocsp_service import OcspService
from webapi.operations.metrics import Metrics
from webapi.pki.routes import create_pki_app
from webapi.published_lists import CrlSource
from webapi.storage.answer_holds import AnswersOnHold
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.crls import PublishedCrl, SqlCrlStore
from webapi.storage.errors import StorageError

PKI = development_like_pki()
SIGNER = issue(lists_spec(PKI.citizen_ca, PKI.national_ca))
ISSUER = CrlIssuer(PKI.citizen_ca.certificate, SIGNER.certificate, SIGNER.key)
ALONE = Rotated(only_key("lists"), {"lists": ISSUER})
LIFE = timedelta(days=1)
SECOND = timedelta(seconds=1)
HELD = IssuedSuspended(NOW)


class NotToday(StorageError):
    """The records are not today's."""


class Office:
    """A CA with its lists, a clock that stands, and the listener that gives them out."""

    def __init__(
        self,
        engine: Engine,
        *,
        deltas: bool = True,
        issuers: Rotated[CrlIssuer] = ALONE,
    ) -> None:
        self.at = NOW
        self.is_today = True
        self.certificates = SqlCertificateStore(engine)
        self.crls = SqlCrlStore(engine, "citizen")
        for serial in (7, 8, 9):
            self.certificates.register(
                ca="citizen", serial=serial, subject="CN=x", not_after=NOW + timedelta(days=9)
            )
        self._delta_url = "http://crl.example/crl/citizen.delta.crl" if deltas else None
        self.publisher = self.publisher_of(issuers)
        ca = ResponderCa(
            "citizen", PKI.citizen_ca.certificate, PKI.delegate.certificate, PKI.delegate.key
        )
        service = OcspService(
            [ca],
            self.certificates,
            lambda: self.at,
            busy=(AnswersOnHold, NotToday),
            require_agreement=self.require_today,
            lists={"citizen": self.source_of(issuers)},
        )
        self.client: FlaskClient = create_pki_app(
            service,
            lambda: self.at,
            limiter=SourceLimiter(RateLimit(1_000, 1.0)),
            observer=Metrics(CollectorRegistry()),
        ).test_client()

    def publisher_of(
        self, issuers: Rotated[CrlIssuer], ahead: timedelta = timedelta(0)
    ) -> CrlPublisher:
        """Another listener's; its clock may be ahead."""
        return CrlPublisher(
            issuers,
            "citizen",
            self.source_of(issuers),
            self.crls,
            self.certificates,
            validity=LIFE,
            delta_url=self._delta_url,
            require_agreement=self.require_today,
            clock=lambda: self.at + ahead,
            stopwatch=self.seconds,
        )

    def seconds(self) -> float:
        return self.at.timestamp()

    def source_of(self, issuers: Rotated[CrlIssuer]) -> CrlSource:
        certificates = [issuer.certificate for issuer in issuers.items.values()]
        return CrlSource(self.crls, certificates)

    def require_today(self) -> None:
        if not self.is_today:
            raise NotToday

    def publish(self, after: timedelta = SECOND) -> PublishedCrl:
        self.at += after
        self.publisher.run_once()
        newest = self.crls.newest()
        assert newest is not None
        return newest

    def suspend(self, serial: int) -> None:
        self.certificates.suspend(ca="citizen", serial=serial, at=NOW)

    def restore(self, serial: int) -> None:
        self.certificates.restore(ca="citizen", serial=serial, at=NOW)


def delta_of(crl: PublishedCrl) -> dict[int, object]:
    assert crl.delta is not None
    return dict(entries_of(crl.delta))


def base_in(crl: PublishedCrl) -> int:
    assert crl.delta is not None
    extensions = x509.load_der_x509_crl(crl.delta).extensions
    return extensions.get_extension_for_class(x509.DeltaCRLIndicator).value.crl_number
