"""Certificate profiles of the development PKI, shaped like the Mongolian national one. Pure.

Root RSA-4096 without AIA, policies or path length; a national issuing CA under it; CAs for
citizens and for services; leaves with OCSP in AIA. Every name says DEVELOPMENT, so that nothing
made here can be taken for a real authority's.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from softhsm_config.certificate_plan import CertificatePlan, SubjectKey

ORGANIZATION = "Tamga DEVELOPMENT PKI - no real authority"

# An arc from a UUID (X.667) needs no registration and collides with nobody's policies.
POLICY_ARC = "2.25.102823690723606973577219289993223833030"
AUTHENTICATION_POLICY = f"{POLICY_ARC}.1.1"
SIGNING_POLICY = f"{POLICY_ARC}.1.2"
SERVICE_POLICY = f"{POLICY_ARC}.1.3"
DISALLOWED_POLICY = f"{POLICY_ARC}.1.9"

_YEAR = timedelta(days=365)
_CLOCK_ALLOWANCE = timedelta(hours=1)
ROOT_LIFE = 10 * _YEAR
CA_LIFE = 9 * _YEAR
CITIZEN_LIFE = 5 * _YEAR
TLS_LIFE = _YEAR
DELEGATE_LIFE = timedelta(days=7)
CRL_SIGNER_LIFE = _YEAR

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

Extensions = tuple[tuple[x509.ExtensionType, bool], ...]


@dataclass(frozen=True, slots=True)
class Citizen:
    """An invented person.

    Attributes:
        given_name: Given name.
        surname: Patronymic, as a Mongolian certificate's SURNAME.
        civil_id: Twelve digits; the subject's serialNumber becomes `PNOMN-<civil id>`.
    """

    given_name: str
    surname: str
    civil_id: str

    @property
    def subject(self) -> x509.Name:
        """Distinguished name of the citizen's certificates."""
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COUNTRY_NAME, "MN"),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{self.surname} {self.given_name}"),
                x509.NameAttribute(NameOID.SURNAME, self.surname),
                x509.NameAttribute(NameOID.GIVEN_NAME, self.given_name),
                x509.NameAttribute(NameOID.SERIAL_NUMBER, f"PNOMN-{self.civil_id}"),
            ]
        )


@dataclass(frozen=True, slots=True)
class StatusUrls:
    """Where a CA's status service answers.

    Attributes:
        ocsp: OCSP responder, http as RFC 6960 appendix A.1 has it; None if it has none.
        issuer_certificate: The CA's certificate in DER.
    """

    ocsp: str | None
    issuer_certificate: str


def authority_name(common_name: str) -> x509.Name:
    """Return the name of a development CA or responder."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "MN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def root_ca(key: SubjectKey, at: datetime) -> CertificatePlan:
    """Plan the root: like MNRCA-2021 it has neither policies nor AIA."""
    name = authority_name("Tamga Development National Root CA")
    return _plan(name, key, at, ROOT_LIFE, _ca_extensions(path_length=None))


def issuing_ca(
    common_name: str,
    key: SubjectKey,
    at: datetime,
    *,
    path_length: int | None,
    policies: tuple[str, ...],
    urls: StatusUrls,
) -> CertificatePlan:
    """Plan a CA below the root.

    Args:
        common_name: Subject's CN.
        key: The CA's key.
        at: Time of issue.
        path_length: CA certificates that may follow below, None for any number.
        policies: Policies that certificates below may assert.
        urls: Status service of the CA that issues it.
    """
    extensions = (
        *_ca_extensions(path_length=path_length),
        _policies(*policies),
        _access(urls),
    )
    return _plan(authority_name(common_name), key, at, CA_LIFE, extensions)


def citizen_authentication(
    citizen: Citizen, key: SubjectKey, at: datetime, urls: StatusUrls
) -> CertificatePlan:
    """Plan the certificate a card logs in with: digitalSignature and clientAuth."""
    extensions = (
        *_leaf_extensions("digital_signature"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        _policies(AUTHENTICATION_POLICY),
        _access(urls),
    )
    return _plan(citizen.subject, key, at, CITIZEN_LIFE, extensions)


def citizen_signing(
    citizen: Citizen, key: SubjectKey, at: datetime, urls: StatusUrls
) -> CertificatePlan:
    """Plan the certificate a card signs documents with: nonRepudiation and nothing else."""
    extensions = (
        *_leaf_extensions("content_commitment"),
        _policies(SIGNING_POLICY),
        _access(urls),
    )
    return _plan(citizen.subject, key, at, CITIZEN_LIFE, extensions)


def ocsp_delegate(common_name: str, key: SubjectKey, at: datetime) -> CertificatePlan:
    """Plan a delegated responder (RFC 6960 section 4.2.2.2): short-lived, therefore nocheck.

    It carries no AIA and no CRL pointer: its own status is never asked (section 4.2.2.2.1).
    """
    extensions = (
        *_leaf_extensions("digital_signature"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False),
        (x509.OCSPNoCheck(), False),
    )
    return _plan(authority_name(common_name), key, at, DELEGATE_LIFE, extensions)


def crl_signer(authority: x509.Name, key: SubjectKey, at: datetime) -> CertificatePlan:
    """Plan the key of a CA's revocation lists: the CA's own name, and cRLSign alone.

    Args:
        authority: The CA's subject: its lists are direct ones (RFC 5280 section 5.1.1.3).
        key: The lists' key.
        at: Time of issue.
    """
    return _plan(authority, key, at, CRL_SIGNER_LIFE, _leaf_extensions("crl_sign"))


def tls_server(
    hosts: tuple[str, ...], key: SubjectKey, at: datetime, urls: StatusUrls
) -> CertificatePlan:
    """Plan a web server's certificate (RFC 9525: names in subjectAltName alone count).

    Args:
        hosts: DNS names and IP addresses, the first also as CN.
        key: The server's key.
        at: Time of issue.
        urls: Status service of the issuing CA.
    """
    extensions = (
        *_leaf_extensions("digital_signature"),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False),
        _policies(SERVICE_POLICY),
        _access(urls),
    )
    return _plan(authority_name(hosts[0]), key, at, TLS_LIFE, extensions)


def key_usage(*granted: str) -> x509.KeyUsage:
    """Return a KeyUsage with the named bits (names as in `cryptography`)."""
    return x509.KeyUsage(**{usage: usage in granted for usage in _USAGES})


def _plan(
    name: x509.Name, key: SubjectKey, at: datetime, life: timedelta, extensions: Extensions
) -> CertificatePlan:
    start = at.replace(microsecond=0)
    return CertificatePlan(name, key, start - _CLOCK_ALLOWANCE, start + life, extensions)


def _ca_extensions(*, path_length: int | None) -> Extensions:
    return (
        (x509.BasicConstraints(ca=True, path_length=path_length), True),
        (key_usage("digital_signature", "key_cert_sign", "crl_sign"), True),
    )


def _leaf_extensions(usage: str) -> Extensions:
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (key_usage(usage), True),
    )


def _policies(*identifiers: str) -> tuple[x509.ExtensionType, bool]:
    policies = [x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in identifiers]
    return x509.CertificatePolicies(policies), False


def _access(urls: StatusUrls) -> tuple[x509.ExtensionType, bool]:
    methods = (
        (AuthorityInformationAccessOID.OCSP, urls.ocsp),
        (AuthorityInformationAccessOID.CA_ISSUERS, urls.issuer_certificate),
    )
    descriptions = [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        for method, url in methods
        if url is not None
    ]
    return x509.AuthorityInformationAccess(descriptions), False


def _general_name(host: str) -> x509.GeneralName:
    try:
        address = ip_address(host)
    except ValueError:
        return x509.DNSName(host)
    return x509.IPAddress(address)
