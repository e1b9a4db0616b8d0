"""The development PKI with keys in memory."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from softhsm_config import profiles
from softhsm_config.certificate_plan import half_spent
from softhsm_config.dev_pki import DevelopmentPki
from softhsm_config.errors import PkiInconsistent
from softhsm_config.issued import IssuedCertificate, IssuedRegister
from softhsm_config.virtual_card.card_file import EC_LOGIN_KEYS, CardImage
from softhsm_config.virtual_card.slots import Slot
from tests.support.card import BASE_URL, CITIZEN, NOW, SoftwareCaKeys, software_pki

KEYS = SoftwareCaKeys()


@pytest.fixture
def pki(tmp_path: Path) -> DevelopmentPki:
    return software_pki(tmp_path / "pki")


@pytest.fixture
def image(tmp_path: Path) -> CardImage:
    return CardImage.create(
        tmp_path / "card", pin="271828", keys=EC_LOGIN_KEYS, expires=date(2031, 1, 1)
    )


T = TypeVar("T", bound=x509.ExtensionType)


def extension(certificate: x509.Certificate, kind: type[T]) -> T:
    return certificate.extensions.get_extension_for_class(kind).value


def policies(certificate: x509.Certificate) -> list[str]:
    return [
        policy.policy_identifier.dotted_string
        for policy in extension(certificate, x509.CertificatePolicies)
    ]


def access(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, str]:
    return {
        description.access_method: description.access_location.value
        for description in extension(certificate, x509.AuthorityInformationAccess)
    }


def test_the_chain_holds(pki: DevelopmentPki) -> None:
    pki.root.verify_directly_issued_by(pki.root)
    pki.national_ca.verify_directly_issued_by(pki.root)
    pki.citizen_ca.verify_directly_issued_by(pki.national_ca)
    pki.service_ca.verify_directly_issued_by(pki.national_ca)


def test_authorities_say_development_and_may_sign(pki: DevelopmentPki) -> None:
    for certificate in (pki.root, pki.national_ca, pki.citizen_ca, pki.service_ca):
        assert "DEVELOPMENT" in certificate.subject.rfc4514_string()
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert usage.critical
        assert usage.value.key_cert_sign
        assert usage.value.crl_sign
        assert constraints.critical
        assert constraints.value.ca
    assert extension(pki.citizen_ca, x509.BasicConstraints).path_length == 0
    assert extension(pki.root, x509.BasicConstraints).path_length is None


def test_key_identifiers_link_the_chain(pki: DevelopmentPki) -> None:
    identifier = extension(pki.national_ca, x509.SubjectKeyIdentifier).digest
    authority = extension(pki.citizen_ca, x509.AuthorityKeyIdentifier)
    assert authority.key_identifier == identifier


def test_citizens_certificates(pki: DevelopmentPki, image: CardImage) -> None:
    cards = pki.issue_citizen_card(image, CITIZEN, NOW)
    for certificate in (cards.authentication, cards.signing):
        certificate.verify_directly_issued_by(pki.citizen_ca)
        serial_number = certificate.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)
        assert serial_number[0].value == "PNOMN-100000000001"
        assert access(certificate) == {
            AuthorityInformationAccessOID.OCSP: f"{BASE_URL}/ocsp/citizen-ca",
            AuthorityInformationAccessOID.CA_ISSUERS: f"{BASE_URL}/certs/citizen-ca.cer",
        }
    login_usage = extension(cards.authentication, x509.KeyUsage)
    assert login_usage == profiles.key_usage("digital_signature")
    purposes = extension(cards.authentication, x509.ExtendedKeyUsage)
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert policies(cards.authentication) == [profiles.AUTHENTICATION_POLICY]
    assert extension(cards.signing, x509.KeyUsage) == profiles.key_usage("content_commitment")
    assert policies(cards.signing) == [profiles.SIGNING_POLICY]
    stored = image.certificate(Slot.AUTHENTICATION)
    assert stored == cards.authentication.public_bytes(serialization.Encoding.DER)


def test_a_card_that_serves_is_kept(pki: DevelopmentPki, image: CardImage) -> None:
    first = pki.issue_citizen_card(image, CITIZEN, NOW)
    issued = pki.issued
    assert pki.issue_citizen_card(image, CITIZEN, NOW + timedelta(days=30)) == first
    assert pki.issued == issued


@pytest.mark.parametrize("change", ["holder", "age", "garbage issuer"])
def test_a_card_that_serves_no_more_gets_new_certificates(
    tmp_path: Path, pki: DevelopmentPki, image: CardImage, change: str
) -> None:
    first = pki.issue_citizen_card(image, CITIZEN, NOW)
    citizen, at = CITIZEN, NOW
    if change == "holder":
        citizen = replace(CITIZEN, civil_id="100000000002")
    elif change == "age":
        at = NOW + timedelta(days=3 * 365)
    else:
        other = SoftwareCaKeys("other-")
        pki = DevelopmentPki.open_or_create(tmp_path / "other", other, base_url=BASE_URL, at=NOW)
    second = pki.issue_citizen_card(image, citizen, at)
    assert second.authentication != first.authentication
    second.authentication.verify_directly_issued_by(pki.citizen_ca)


def test_the_ocsp_delegate(pki: DevelopmentPki) -> None:
    delegate = pki.issue_ocsp_delegate(KEYS, NOW)
    delegate.verify_directly_issued_by(pki.citizen_ca)
    assert list(extension(delegate, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    extension(delegate, x509.OCSPNoCheck)
    for absent in (x509.AuthorityInformationAccess, x509.CRLDistributionPoints):
        with pytest.raises(x509.ExtensionNotFound):
            extension(delegate, absent)
    assert delegate.not_valid_after_utc - NOW == timedelta(days=7)


def test_the_ocsp_delegate_is_renewed_at_half_its_life(pki: DevelopmentPki) -> None:
    first = pki.issue_ocsp_delegate(KEYS, NOW)
    assert pki.issue_ocsp_delegate(KEYS, NOW + timedelta(days=3)) == first
    second = pki.issue_ocsp_delegate(KEYS, NOW + timedelta(days=4))
    assert second != first
    assert not half_spent(second, NOW + timedelta(days=4))


def test_tls_files(pki: DevelopmentPki) -> None:
    files = pki.issue_tls(NOW)
    chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    assert chain[1:] == [pki.service_ca, pki.national_ca]
    chain[0].verify_directly_issued_by(pki.service_ca)
    names = extension(chain[0], x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in addresses] == ["127.0.0.1", "::1"]
    assert AuthorityInformationAccessOID.OCSP not in access(chain[0])
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    assert key.public_key() == chain[0].public_key()
    assert files.key.stat().st_mode & 0o777 == 0o600


def test_tls_files_are_kept_and_renewed(pki: DevelopmentPki) -> None:
    files = pki.issue_tls(NOW)
    first = files.certificate.read_bytes()
    pki.issue_tls(NOW + timedelta(days=100))
    assert files.certificate.read_bytes() == first
    pki.issue_tls(NOW + timedelta(days=200))
    assert files.certificate.read_bytes() != first


@pytest.mark.parametrize("change", ["other hosts", "no key", "other key"])
def test_tls_files_that_do_not_fit_are_made_anew(pki: DevelopmentPki, change: str) -> None:
    files = pki.issue_tls(NOW)
    first = files.certificate.read_bytes()
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    if change == "other hosts":
        hosts = ("tamga.localhost",)
    elif change == "no key":
        files.key.unlink()
    else:
        key = KEYS.signing_key("dev-service-ca")
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        files.key.write_bytes(pem)
    pki.issue_tls(NOW, hosts)
    assert files.certificate.read_bytes() != first


def test_a_tls_key_of_another_kind_is_told(pki: DevelopmentPki) -> None:
    files = pki.issue_tls(NOW)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    files.key.write_bytes(pem)
    with pytest.raises(PkiInconsistent, match="no EC key"):
        pki.issue_tls(NOW)


def test_a_second_run_makes_nothing(tmp_path: Path) -> None:
    first = software_pki(tmp_path / "pki")
    second = software_pki(tmp_path / "pki", at=NOW + timedelta(days=1))
    assert second.root == first.root
    assert second.service_ca == first.service_ca
    assert second.issued == first.issued


def test_a_run_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    first = software_pki(tmp_path / "pki")
    first.certificate_file("citizen-ca").unlink()
    second = software_pki(tmp_path / "pki")
    assert second.national_ca == first.national_ca
    assert second.citizen_ca != first.citizen_ca
    second.citizen_ca.verify_directly_issued_by(first.national_ca)


@pytest.mark.parametrize("name", ["root-ca", "citizen-ca"])
def test_certificates_of_other_keys_are_refused(tmp_path: Path, name: str) -> None:
    first = software_pki(tmp_path / "pki")
    first.certificate_file(name).write_bytes(first.certificate_file("national-ca").read_bytes())
    with pytest.raises(PkiInconsistent, match="another key"):
        software_pki(tmp_path / "pki")


def test_damaged_certificates_are_refused(tmp_path: Path) -> None:
    first = software_pki(tmp_path / "pki")
    first.certificate_file("root-ca").write_bytes(b"no certificate")
    with pytest.raises(PkiInconsistent, match="no certificate"):
        software_pki(tmp_path / "pki")


def test_the_register_names_every_certificate(pki: DevelopmentPki, image: CardImage) -> None:
    card = pki.issue_citizen_card(image, CITIZEN, NOW)
    lines = {line.serial: line for line in pki.issued}
    line = lines[f"{card.authentication.serial_number:x}"]
    assert line.ca == "citizen-ca"
    assert line.expires == card.authentication.not_valid_after_utc
    assert "Сараа" in line.subject
    assert {entry.ca for entry in pki.issued} == {"root-ca", "national-ca", "citizen-ca"}


@pytest.mark.parametrize("content", ["[", "{}x", '[{"ca": "x"}]', "[1]"])
def test_a_damaged_register_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "issued.json").write_text(content)
    with pytest.raises(PkiInconsistent, match="no register"):
        IssuedRegister(tmp_path / "issued.json").entries()


def test_a_line_is_not_repeated(tmp_path: Path) -> None:
    register = IssuedRegister(tmp_path / "issued.json")
    line = IssuedCertificate("citizen-ca", "0a", "CN=x", 1)
    register.add(line)
    register.add(line)
    assert json.loads((tmp_path / "issued.json").read_text()) == [
        {"ca": "citizen-ca", "serial": "0a", "subject": "CN=x", "not_after": 1}
    ]
