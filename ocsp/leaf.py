"""What a user's certificate must say about itself: steps 5 to 7 of the login check.

The steps are those of the Web eID validation order, mended: allow-list and deny-list of policies
per issuer, a floor for keys, and critical extensions, which RFC 5280 leaves to the application.
"""

import re
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from ocsp.certificate import (
    ReadCertificate,
    check_key_strength,
    check_validity,
)
from ocsp.config import (
    ClientAuth,
    IssuerProfile,
)
from ocsp.errors import (
    CertificateExtensionUnknown,
    CertificatePersonMissing,
    CertificatePolicyDisallowed,
    CertificatePolicyMissing,
    CertificatePurposeMissing,
    CertificatePurposeWrong,
    PathMember,
)
from ocsp.persons import DisplayName, PersonRegister

PROCESSED_CRITICAL = frozenset(
    {
        ExtensionOID.KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.CERTIFICATE_POLICIES,
        # Its names are processed by the path's name constraints.
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
"""Critical extensions of a user's certificate that this package processes."""


def check_purpose(read: ReadCertificate) -> None:
    """Step 5: made for authentication by an end entity, and for nothing that a CA does.

    Raises:
        CertificatePurposeMissing: no KeyUsage.
        CertificatePurposeWrong: KeyUsage without digitalSignature or with keyCertSign or cRLSign;
            an ExtendedKeyUsage without clientAuth (absent is accepted); cA=TRUE.
        CertificateExtensionUnknown: a critical extension outside PROCESSED_CRITICAL.
    """
    usage = read.extension(x509.KeyUsage)
    if usage is None:
        raise CertificatePurposeMissing("no KeyUsage")
    if not usage.digital_signature:
        raise CertificatePurposeWrong("KeyUsage lacks digitalSignature")
    if usage.key_cert_sign or usage.crl_sign or read.is_ca:
        raise CertificatePurposeWrong("a CA's certificate is not a user's")
    extended = read.extension(x509.ExtendedKeyUsage)
    if extended is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in extended:
        raise CertificatePurposeWrong("ExtendedKeyUsage lacks clientAuth")
    for extension in read.extensions:
        if extension.critical and extension.oid not in PROCESSED_CRITICAL:
            raise CertificateExtensionUnknown(extension.oid.dotted_string)


def check_client_auth(read: ReadCertificate) -> None:
    """Step 5 where the issuer's profile is strict: the certificate says that it is for signing in.

    Raises:
        CertificatePurposeMissing: no ExtendedKeyUsage; one without clientAuth was refused before.
    """
    if read.extension(x509.ExtendedKeyUsage) is None:
        raise CertificatePurposeMissing("no ExtendedKeyUsage")


def check_policies(read: ReadCertificate, profile: IssuerProfile) -> None:
    """Step 6: no refused policy, and a required one in so many words.

    The lists name policies; anyPolicy (RFC 5280 section 4.2.1.4) names none, and would satisfy
    the one list and slip by the other. Whether the path passes the policy on is decided later.

    Raises:
        CertificatePolicyDisallowed: one is on the deny-list.
        CertificatePolicyMissing: none is on the list of required ones.
    """
    refused = sorted(read.policies & profile.disallowed_policies)
    if refused:
        raise CertificatePolicyDisallowed(refused[0])
    if not read.policies & profile.required_policies:
        raise CertificatePolicyMissing("the certificate names no required policy")


def check_leaf(read: ReadCertificate, profile: IssuerProfile | None, at: datetime) -> None:
    """Steps 5 to 7 on a certificate whose issuer is still only claimed.

    Args:
        read: the user's certificate.
        profile: of the claimed issuer; None if no profile has that name, in which case the
            path (step 8) refuses whatever is accepted here.
        at: the time of the check.

    Raises:
        CertificateRefused: by its subclasses.
    """
    # 5. Purpose.
    check_purpose(read)
    if profile is not None:
        # 6. Policies by the issuer's lists, and the key by its floor.
        if profile.client_auth is ClientAuth.REQUIRED:
            check_client_auth(read)
        check_policies(read, profile)
        check_key_strength(
            read.public_key,
            min_rsa_bits=profile.min_rsa_bits,
            allowed_curves=profile.allowed_curves,
        )
    # 7. Validity, before any path is built.
    check_validity(read.certificate, PathMember.USER, at)


def person_identifier(certificate: x509.Certificate, profile: IssuerProfile) -> str:
    """Who the subject is, by the issuer's rule.

    Args:
        certificate: of a ValidatedChain's leaf.
        profile: of the same chain.

    Returns:
        The whole attribute value, such as "PNOMN-123456789012".

    Raises:
        CertificatePersonMissing: not exactly one such attribute, another form of value, or a
            certificate that is not in the issuer's register.
    """
    rule = profile.person
    if isinstance(rule, PersonRegister):
        person = rule.people.get(certificate.serial_number)
        if person is None:
            raise CertificatePersonMissing("the issuer's register does not name the certificate")
        return person
    values = certificate.subject.get_attributes_for_oid(x509.ObjectIdentifier(rule.oid))
    if len(values) != 1:
        raise CertificatePersonMissing(f"{len(values)} attributes {rule.oid}, expected one")
    value = values[0].value
    if not isinstance(value, str) or not re.fullmatch(rule.pattern, value):
        raise CertificatePersonMissing(f"attribute {rule.oid} has another form")
    return value


_DISPLAY_NAMES = {
    DisplayName.COMMON_NAME: ((NameOID.COMMON_NAME,), ", "),
    DisplayName.GIVEN_NAME_AND_SURNAME: ((NameOID.GIVEN_NAME, NameOID.SURNAME), " "),
}


def display_name(certificate: x509.Certificate, profile: IssuerProfile) -> str:
    """What the subject is greeted by, by the issuer's rule; "" if it has no such attribute."""
    oids, between = _DISPLAY_NAMES[profile.display_name]
    values = [
        str(attribute.value)
        for oid in oids
        for attribute in certificate.subject.get_attributes_for_oid(oid)
    ]
    return between.join(values)
