"""From the settings' paths and texts to the checked values of `ocsp`."""

import tomllib
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.client import PURPOSE
from ocsp.config import (
    CacheUse,
    CertIdHash,
    ClientAuth,
    IssuerProfile,
    NonceMode,
    RequestMethod,
    TrustStore,
)
from ocsp.crl.fetching import PURPOSE as CRL_PURPOSE
from ocsp.crl.rules import AuthorityStatusUnpublished, CrlRules, StatusOrder
from ocsp.destination import Destination
from ocsp.errors import ConfigurationInvalid
from ocsp.path_judging import PathJudge, judge_here
from ocsp.persons import DisplayName, PersonAttribute, PersonRegister
from ocsp.transport import Egress
from webapi.settings_model import Settings
from webapi.settings_trust import IssuerSettings

# How subject attributes are called in the settings file (RFC 4519 names).
_ATTRIBUTE_OIDS = {"serialNumber": "2.5.4.5", "uid": "0.9.2342.19200300.100.1.1"}


class CertificateFileWrong(Exception):
    """A certificate file of the settings holds no certificate, or another one."""


class PersonRegisterWrong(Exception):
    """The file of an issuer's register cannot be used."""


def read_certificate_file(path: Path) -> x509.Certificate:
    """One certificate, PEM or DER.

    Raises:
        CertificateFileWrong: it cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except (OSError, ValueError) as error:
        raise CertificateFileWrong(f"{path} holds no certificate") from error


def _der(path: Path) -> bytes:
    return read_certificate_file(path).public_bytes(Encoding.DER)


def _issuers_own(path: Path, issuer: IssuerSettings) -> bytes:
    """The DER of a certificate file of an issuer, with one of its fingerprints if it has any."""
    der = _der(path)
    pinned = {fingerprint.lower() for fingerprint in issuer.certificate_sha256}
    if pinned and sha256(der).hexdigest() not in pinned:
        raise CertificateFileWrong(f"{path} has none of the fingerprints of issuer {issuer.name}")
    return der


def _person(issuer: IssuerSettings) -> PersonAttribute | PersonRegister:
    if issuer.person_register is not None:
        return PersonRegister(_read_register(issuer.person_register), issuer.person_pattern)
    oid = _ATTRIBUTE_OIDS.get(issuer.person_attribute, issuer.person_attribute)
    return PersonAttribute(oid, issuer.person_pattern)


def _read_register(path: Path) -> dict[int, str]:
    """`"serial number in hexadecimal" = "identifier"`, one line for each certificate."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        people = {int(serial, 16): person for serial, person in values.items()}
    except (OSError, ValueError) as error:
        # `from None`: the parser's message could show a line of the register.
        raise PersonRegisterWrong(f"{path} is no register: {type(error).__name__}") from None
    if len(people) < len(values) or not all(isinstance(p, str) for p in people.values()):
        raise PersonRegisterWrong(f"{path} names a certificate twice, or a person by no text")
    return people


def _crl_rules(issuer: IssuerSettings) -> CrlRules | None:
    if not issuer.crl_urls:
        return None
    return CrlRules(
        urls=issuer.crl_urls,
        signers=tuple(_der(path) for path in issuer.crl_signers),
        max_age=timedelta(seconds=issuer.crl_max_age_seconds),
        refresh=timedelta(seconds=issuer.crl_refresh_seconds),
        max_bytes=issuer.crl_max_bytes,
    )


def authority_rules_of(settings: Settings) -> CrlRules | None:
    """Where the lists of the CAs above the issuers are; None: every issuer says why not."""
    trust = settings.trust
    if not trust.authority_crl_urls:
        return None
    max_age = timedelta(seconds=trust.authority_crl_max_age_seconds)
    return CrlRules(urls=trust.authority_crl_urls, max_age=max_age)


def _authority_status(
    issuer: IssuerSettings, above: CrlRules | None
) -> CrlRules | AuthorityStatusUnpublished:
    reason = issuer.authorities_publish_no_status_because
    if reason is not None:
        return AuthorityStatusUnpublished(reason)
    if above is None:
        raise ConfigurationInvalid(f"{issuer.name}: nothing says how CA certificates are checked")
    return above


def profile_of(issuer: IssuerSettings, above: CrlRules | None) -> IssuerProfile:
    """The checked profile of an issuer's settings; reads its files.

    Args:
        issuer: the settings.
        above: where the lists of the CAs above the issuers are; None only where the issuer says
            why there are none.

    Raises:
        CertificateFileWrong, PersonRegisterWrong: a file is not what it must be.
        ocsp.errors.ConfigurationInvalid: the values make no sense together.
    """
    return IssuerProfile(
        name=issuer.name,
        certificates=tuple(_issuers_own(path, issuer) for path in issuer.certificates),
        anchors=frozenset(_issuers_own(path, issuer) for path in issuer.anchors),
        responders=issuer.responders,
        order=StatusOrder(issuer.order),
        crl=_crl_rules(issuer),
        required_policies=frozenset(issuer.required_policies),
        disallowed_policies=frozenset(issuer.disallowed_policies),
        person=_person(issuer),
        authority_status=_authority_status(issuer, above),
        display_name=DisplayName(issuer.display_name),
        client_auth=ClientAuth(issuer.client_auth),
        certid_hash=CertIdHash(issuer.certid_hash),
        nonce=NonceMode(issuer.nonce),
        method=RequestMethod(issuer.method),
        skew=timedelta(seconds=issuer.skew_seconds),
        max_age=timedelta(seconds=issuer.max_age_seconds),
        cache=CacheUse(issuer.cache),
        cache_max_age=timedelta(seconds=issuer.cache_max_age_seconds),
        next_update_required=issuer.next_update_required,
        attempts=issuer.attempts,
        answer_timeout=timedelta(seconds=issuer.answer_timeout_seconds),
        status_timeout=timedelta(seconds=issuer.status_timeout_seconds),
        answer_max_bytes=issuer.answer_max_bytes,
        answer_hashes=frozenset(issuer.answer_hashes),
        min_rsa_bits=issuer.min_rsa_bits,
        allowed_curves=frozenset(issuer.allowed_curves),
    )


def trust_store_of(settings: Settings, judge: PathJudge = judge_here) -> TrustStore:
    """Roots, intermediates and issuer profiles.

    Args:
        settings: the paths of the certificates, and the rules.
        judge: as `TrustStore.judge`, for a service; others judge paths in their own process.

    Raises:
        CertificateFileWrong, PersonRegisterWrong: a file is not what it must be.
        ocsp.errors.ConfigurationInvalid: the certificates and rules make no sense together.
    """
    trust = settings.trust
    above = authority_rules_of(settings)
    profiles = tuple(profile_of(issuer, above) for issuer in trust.issuers)
    roots = dict.fromkeys(_der(path) for path in trust.roots)
    for profile in profiles:
        roots |= dict.fromkeys(sorted(profile.anchors))
    intermediates = [_der(path) for path in trust.intermediates]
    for issuer in trust.issuers:
        intermediates += [_issuers_own(path, issuer) for path in issuer.intermediates]
    return TrustStore(
        roots=tuple(roots), intermediates=tuple(intermediates), issuers=profiles, judge=judge
    )


def egress_of(settings: Settings) -> Egress:
    """The way out: the issuers' responders and lists are registered, nothing else.

    An address in a private network is refused unless the issuer's settings say so, and this machine
    unless it is a development service.
    """
    development = settings.development
    loopback = (
        development is not None and development.dangerous_development_allow_loopback_responders
    )

    def place(url: str, issuer: IssuerSettings) -> Destination:
        private = issuer.responders_in_private_network
        return Destination(url, allow_loopback=loopback, allow_private=private)

    issuers = settings.trust.issuers
    return Egress(
        {
            PURPOSE: tuple(place(url, issuer) for issuer in issuers for url in issuer.responders),
            CRL_PURPOSE: (
                *(place(url, issuer) for issuer in issuers for url in issuer.crl_urls),
                *(
                    Destination(url, allow_loopback=loopback)
                    for url in settings.trust.authority_crl_urls
                ),
            ),
        }
    )
