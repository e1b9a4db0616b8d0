"""The development PKI on disk: opened or made, never made twice.

    <directory>/root-ca.cer ...      CA certificates (DER)
    <directory>/ocsp-citizen-ca.cer  the current OCSP delegate (DER)
    <directory>/crl-citizen-ca.cer   the current key of the revocation lists (DER)
    <directory>/tls.crt, tls.key     the web server's chain and key (PEM)
    <directory>/issued.json          every certificate that a CA here issued

CA keys stay in the token (`CaKeys`); time is an argument.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from softhsm_config import profiles
from softhsm_config.ca_keys import CaKeys
from softhsm_config.certificate_plan import (
    CertificatePlan,
    Issuer,
    SigningKey,
    SubjectKey,
    carries_plan,
    der,
    half_spent,
    self_sign_plan,
    sign_plan,
)
from softhsm_config.errors import PkiInconsistent
from softhsm_config.issued import IssuedCertificate, IssuedRegister
from softhsm_config.private_files import make_private_directory, write_private
from softhsm_config.profiles import Citizen, StatusUrls
from softhsm_config.virtual_card.card_file import CardImage
from softhsm_config.virtual_card.slots import Slot
from softhsm_config.zones import (
    CITIZEN_CA_KEY,
    CRL_CITIZEN_KEY,
    NATIONAL_CA_KEY,
    OCSP_CITIZEN_KEY,
    ROOT_CA_KEY,
    SERVICE_CA_KEY,
)

ROOT_CA = "root-ca"
NATIONAL_CA = "national-ca"
CITIZEN_CA = "citizen-ca"
SERVICE_CA = "service-ca"
OCSP_CITIZEN_CA = "ocsp-citizen-ca"
CRL_CITIZEN_CA = "crl-citizen-ca"
TLS_HOSTS = ("localhost", "127.0.0.1", "::1")

_CITIZEN_POLICIES = (profiles.AUTHENTICATION_POLICY, profiles.SIGNING_POLICY)


@dataclass(frozen=True, slots=True)
class _CaDefinition:
    """A CA below the root."""

    name: str
    common_name: str
    key: str
    parent: str
    path_length: int | None
    policies: tuple[str, ...]


_CAS = (
    _CaDefinition(
        NATIONAL_CA,
        "Tamga Development National Issuing CA",
        NATIONAL_CA_KEY,
        parent=ROOT_CA,
        path_length=None,
        policies=(*_CITIZEN_POLICIES, profiles.SERVICE_POLICY),
    ),
    _CaDefinition(
        CITIZEN_CA,
        "Tamga Development Citizen CA",
        CITIZEN_CA_KEY,
        parent=NATIONAL_CA,
        path_length=0,
        policies=_CITIZEN_POLICIES,
    ),
    _CaDefinition(
        SERVICE_CA,
        "Tamga Development Service CA",
        SERVICE_CA_KEY,
        parent=NATIONAL_CA,
        path_length=0,
        policies=(profiles.SERVICE_POLICY,),
    ),
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The web server's files: certificate chain (leaf first) and key, both PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class CitizenCertificates:
    """What is on a citizen's card."""

    authentication: x509.Certificate
    signing: x509.Certificate


class DevelopmentPki:
    """The CAs with their certificates, and what they issue; made by `open_or_create`."""

    def __init__(self, directory: Path, base_url: str, issuers: dict[str, Issuer]) -> None:
        self._directory = directory
        self._base_url = base_url
        self._issuers = issuers
        self._register = IssuedRegister(directory / "issued.json")

    @classmethod
    def open_or_create(cls, directory: Path, keys: CaKeys, *, base_url: str, at: datetime) -> Self:
        """Open the PKI in a directory; make the CA certificates that are missing.

        Args:
            directory: Made if missing; owner-only.
            keys: The CAs' keys; needed for the returned object's life.
            base_url: Of the plain-HTTP listener, without a slash at the end; certificates
                carry `<base>/certs/<ca>.cer`, and `<base>/ocsp/<ca>` if the CA has a responder.
            at: Time of issue, UTC.

        Raises:
            PkiInconsistent: A certificate on disk is unreadable or of another key.
        """
        make_private_directory(directory)
        pki = cls(directory, base_url, {})
        root_key = keys.signing_key(ROOT_CA_KEY)
        root = pki._stored(ROOT_CA, root_key.public_key())
        if root is None:
            root = self_sign_plan(profiles.root_ca(root_key.public_key(), at), root_key)
            pki._store(ROOT_CA, root)
        pki._issuers[ROOT_CA] = Issuer(ROOT_CA, root, root_key)
        for definition in _CAS:
            pki._provide_ca(definition, keys.signing_key(definition.key), at)
        return pki

    @property
    def root(self) -> x509.Certificate:
        """The root, to be pinned."""
        return self._issuers[ROOT_CA].certificate

    @property
    def national_ca(self) -> x509.Certificate:
        """The national issuing CA."""
        return self._issuers[NATIONAL_CA].certificate

    @property
    def citizen_ca(self) -> x509.Certificate:
        """The CA of citizens' cards."""
        return self._issuers[CITIZEN_CA].certificate

    @property
    def service_ca(self) -> x509.Certificate:
        """The CA of web servers."""
        return self._issuers[SERVICE_CA].certificate

    @property
    def issued(self) -> tuple[IssuedCertificate, ...]:
        """Every certificate issued here, oldest first."""
        return self._register.entries()

    def issuer(self, name: str) -> Issuer:
        """Return a CA with its key, for `wrong_certificate`."""
        return self._issuers[name]

    def urls(self, ca: str) -> StatusUrls:
        """Return where a CA's status service answers; the citizen CA alone has a responder."""
        responder = f"{self._base_url}/ocsp/{ca}" if ca == CITIZEN_CA else None
        return StatusUrls(responder, f"{self._base_url}/certs/{ca}.cer")

    def certificate_file(self, name: str) -> Path:
        """Return the DER file of the certificate of a CA, the OCSP delegate or the lists' key."""
        return self._directory / f"{name}.cer"

    def issue_ocsp_delegate(self, keys: CaKeys, at: datetime) -> x509.Certificate:
        """Return the citizen CA's OCSP delegate; a new one when half its life is spent."""
        public_key = keys.signing_key(OCSP_CITIZEN_KEY).public_key()
        plan = profiles.ocsp_delegate("Tamga Development Citizen CA OCSP", public_key, at)
        present = self._stored(OCSP_CITIZEN_CA, public_key)
        if present is not None and self._still_serves(present, CITIZEN_CA, plan, at):
            return present
        certificate = self._issue(CITIZEN_CA, plan)
        self._store(OCSP_CITIZEN_CA, certificate)
        return certificate

    def issue_crl_signer(self, keys: CaKeys, at: datetime) -> x509.Certificate:
        """Return the key of the citizen CA's lists; a new one when half its life is spent.

        The CA above issues it: a list need not vouch for the key that signed it.
        """
        public_key = keys.signing_key(CRL_CITIZEN_KEY).public_key()
        plan = profiles.crl_signer(self.citizen_ca.subject, public_key, at)
        present = self._stored(CRL_CITIZEN_CA, public_key)
        if present is not None and self._still_serves(present, NATIONAL_CA, plan, at):
            return present
        certificate = self._issue(NATIONAL_CA, plan)
        self._store(CRL_CITIZEN_CA, certificate)
        return certificate

    def issue_tls(self, at: datetime, hosts: tuple[str, ...] = TLS_HOSTS) -> TlsFiles:
        """Return the web server's certificate and key; new ones when half their life is spent.

        The key is a software key (a web server terminates TLS), readable by its owner alone.
        """
        files = TlsFiles(self._directory / "tls.crt", self._directory / "tls.key")
        urls = self.urls(SERVICE_CA)
        if files.certificate.exists() and files.key.exists():
            present = x509.load_pem_x509_certificate(files.certificate.read_bytes())
            plan = profiles.tls_server(hosts, _public_half(files.key), at, urls)
            if self._still_serves(present, SERVICE_CA, plan, at):
                return files
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._issue(SERVICE_CA, profiles.tls_server(hosts, key.public_key(), at, urls))
        # The old key goes first: a certificate without its key is made anew, never mismatched.
        files.key.unlink(missing_ok=True)
        chain = (leaf, self.service_ca, self.national_ca)
        pem = b"".join(link.public_bytes(serialization.Encoding.PEM) for link in chain)
        write_private(files.certificate, pem)
        write_private(files.key, _pkcs8(key))
        return files

    def issue_citizen_card(
        self, image: CardImage, citizen: Citizen, at: datetime
    ) -> CitizenCertificates:
        """Put a citizen's two certificates on a card; certificates that still serve are kept.

        Args:
            image: Card with keys in the authentication and signature slots.
            citizen: Holder.
            at: Time of issue, UTC.
        """
        urls = self.urls(CITIZEN_CA)
        profile_of = {
            Slot.AUTHENTICATION: profiles.citizen_authentication,
            Slot.SIGNATURE: profiles.citizen_signing,
        }
        issued = {}
        for slot, profile in profile_of.items():
            plan = profile(citizen, image.public_key(slot), at, urls)
            stored = image.certificate(slot)
            present = None if stored is None else x509.load_der_x509_certificate(stored)
            if present is None or not self._still_serves(present, CITIZEN_CA, plan, at):
                present = self._issue(CITIZEN_CA, plan)
                image.store_certificate(slot, der(present))
            issued[slot] = present
        return CitizenCertificates(issued[Slot.AUTHENTICATION], issued[Slot.SIGNATURE])

    def _provide_ca(self, definition: _CaDefinition, key: SigningKey, at: datetime) -> None:
        certificate = self._stored(definition.name, key.public_key())
        if certificate is None:
            plan = profiles.issuing_ca(
                definition.common_name,
                key.public_key(),
                at,
                path_length=definition.path_length,
                policies=definition.policies,
                urls=self.urls(definition.parent),
            )
            certificate = self._issue(definition.parent, plan)
            self._store(definition.name, certificate)
        self._issuers[definition.name] = Issuer(definition.name, certificate, key)

    def _issue(self, ca: str, plan: CertificatePlan) -> x509.Certificate:
        certificate = sign_plan(plan, self._issuers[ca])
        self._register.add(IssuedCertificate.of(ca, certificate))
        return certificate

    def _still_serves(
        self, present: x509.Certificate, ca: str, plan: CertificatePlan, at: datetime
    ) -> bool:
        try:
            present.verify_directly_issued_by(self._issuers[ca].certificate)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return carries_plan(present, plan) and not half_spent(present, at)

    def _store(self, name: str, certificate: x509.Certificate) -> None:
        write_private(self.certificate_file(name), der(certificate))

    def _stored(self, name: str, public_key: SubjectKey) -> x509.Certificate | None:
        path = self.certificate_file(name)
        if not path.exists():
            return None
        try:
            certificate = x509.load_der_x509_certificate(path.read_bytes())
        except ValueError as e:
            raise PkiInconsistent(f"{path} is no certificate") from e
        if certificate.public_key() != public_key:
            raise PkiInconsistent(f"{path} is of another key than the token's")
        return certificate


def _public_half(path: Path) -> ec.EllipticCurvePublicKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiInconsistent(f"{path} holds no EC key")
    return key.public_key()


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
