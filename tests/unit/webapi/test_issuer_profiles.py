"""Issuer profiles: what is refused, who the person is, and what is shipped and documented."""

import shutil
import tomllib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from ocsp.chain import validate_path
from ocsp.config import (
    ClientAuth,
)
from ocsp.crl.rules import AuthorityStatusUnpublished, CrlRules, StatusOrder
from ocsp.errors import (
    CertificateNotTrusted,
    CertificatePersonMissing,
    CertificatePurposeMissing,
    ConfigurationInvalid,
)
from ocsp.persons import DisplayName, PersonRegister
from tests.support.certificates import NOW, Issued, authority_spec, development_like_pki, issue
from tests.support.profile_table import PAGE, page_with, table
from tests.support.settings import DEVELOPMENT_SETTINGS
from tests.support.trust import citizen_profile
from tests.support.trust import trust_store as memory_store
from webapi.config import ConfigurationWrong, load_settings, read_issuer_profile
from webapi.trust_settings import (
    CertificateFileWrong,
    PersonRegisterWrong,
    profile_of,
    trust_store_of,
)

PKI = development_like_pki()
SHIPPED = Path(__file__).parents[3] / "deploy" / "issuers"
PROFILE = """
name = "citizen-ca"
anchors = ["root.cer"]
intermediates = ["national.cer"]
certificates = ["citizen.cer"]
responders = ["http://ocsp.example/", "http://second.example/"]
nonce = "prefer"
authorities_publish_no_status_because = "these CAs publish no lists"
required_policies = ["2.16.496.1.101.1.2.8"]
person_pattern = "PNOMN-[0-9]{12}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A settings file whose one issuer is a profile file in a folder of its own."""
    profiles = tmp_path / "issuers"
    profiles.mkdir()
    for name, issued in (
        ("root", PKI.root),
        ("national", PKI.national_ca),
        ("citizen", PKI.citizen_ca),
    ):
        (profiles / f"{name}.cer").write_bytes(issued.der)
    (profiles / "citizen.toml").write_text(PROFILE)
    before, _, after = DEVELOPMENT_SETTINGS.partition("[trust]")
    _, _, rest = after.partition("[receipts]")
    trust = '[trust]\nprofiles = ["issuers/citizen.toml"]\n'
    (tmp_path / "tamga.toml").write_text(f"{before}{trust}\n[receipts]{rest}")
    return tmp_path


def _edit(folder: Path, old: str, new: str) -> None:
    path = folder / "issuers" / "citizen.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _keys(error: ConfigurationWrong) -> set[str]:
    return {finding.key.rpartition(": ")[2] for finding in error.findings}


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('nonce = "prefer"', 'nonce = "prefer"\nnonces = 1', "nonces"),
        ('nonce = "prefer"', 'nonce = "maybe"', "nonce"),
        ('nonce = "prefer"\n', "", "nonce"),
        ('["citizen.cer"]', "[]", "certificates"),
        ('"http://second.example/"', '"file:///etc/passwd"', "responders.1"),
        (
            'nonce = "prefer"',
            'nonce = "prefer"\ncertificate_sha256 = ["00"]',
            "certificate_sha256.0",
        ),
        ('nonce = "prefer"', 'nonce = "prefer"\nsoft_fail = true', "soft_fail"),
    ],
)
def test_a_profile_with_a_wrong_key_or_value_is_refused(
    folder: Path, old: str, new: str, key: str
) -> None:
    _edit(folder, old, new)
    with pytest.raises(ConfigurationWrong, match=r"citizen\.toml") as caught:
        load_settings(folder / "tamga.toml", {})
    assert _keys(caught.value) == {key}


def test_a_profile_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "issuers" / "citizen.toml").unlink()
    with pytest.raises(ConfigurationWrong, match=r"citizen\.toml: cannot be read"):
        load_settings(folder / "tamga.toml", {})


SILENCE = 'authorities_publish_no_status_because = "these CAs publish no lists"\n'
LISTS = '[trust]\nauthority_crl_urls = ["http://ca.example/root.crl"]'


def test_silence_about_the_authorities_status_is_refused(folder: Path) -> None:
    _edit(folder, SILENCE, "")
    with pytest.raises(ConfigurationWrong, match="authorities_publish_no_status_because") as caught:
        load_settings(folder / "tamga.toml", {})
    assert _keys(caught.value) == {"trust"}
    with pytest.raises(ConfigurationInvalid, match="nothing says how CA certificates"):
        profile_of(read_issuer_profile(folder / "issuers" / "citizen.toml"), None)


@pytest.mark.parametrize("reason", ["", "   "])
def test_a_reason_that_says_nothing_is_none(folder: Path, reason: str) -> None:
    _edit(folder, "these CAs publish no lists", reason)
    with pytest.raises((ConfigurationWrong, ConfigurationInvalid)):
        trust_store_of(load_settings(folder / "tamga.toml", {}))


def test_each_issuer_says_how_the_authorities_above_it_are_checked(folder: Path) -> None:
    settings = folder / "tamga.toml"
    said = trust_store_of(load_settings(settings, {})).issuers[0].authority_status
    assert said == AuthorityStatusUnpublished("these CAs publish no lists")
    settings.write_text(settings.read_text().replace("[trust]", LISTS, 1))
    # Lists of other issuers' superiors are none of its own.
    assert trust_store_of(load_settings(settings, {})).issuers[0].authority_status == said
    _edit(folder, SILENCE, "")
    rules = trust_store_of(load_settings(settings, {})).issuers[0].authority_status
    assert isinstance(rules, CrlRules)
    assert rules.urls == ("http://ca.example/root.crl",)


def test_a_required_nonce_and_a_cache_that_is_asked_first_contradict(folder: Path) -> None:
    _edit(folder, '"prefer"', '"require"\ncache = "first"')
    settings = load_settings(folder / "tamga.toml", {})
    with pytest.raises(ConfigurationInvalid, match="nonce that is required"):
        trust_store_of(settings)


def test_another_certificate_than_the_pinned_ones_is_refused(folder: Path) -> None:
    pins = [issued.certificate.fingerprint for issued in (PKI.root, PKI.national_ca)]
    listed = ", ".join(f'"{pin(SHA256()).hex().upper()}"' for pin in pins)
    _edit(folder, 'nonce = "prefer"', f'nonce = "prefer"\ncertificate_sha256 = [{listed}]')
    settings = load_settings(folder / "tamga.toml", {})
    with pytest.raises(CertificateFileWrong, match=r"citizen\.cer has none of the fingerprints"):
        trust_store_of(settings)
    shutil.copy(folder / "issuers" / "national.cer", folder / "issuers" / "citizen.cer")
    assert trust_store_of(settings).issuers[0].certificates == (PKI.national_ca.der,)


def test_a_profile_file_makes_a_trust_store(folder: Path) -> None:
    store = trust_store_of(load_settings(folder / "tamga.toml", {}))
    profile = store.issuers[0]
    assert profile.anchors == {PKI.root.der}
    assert profile.responders == ("http://ocsp.example/", "http://second.example/")
    assert validate_path(PKI.leaf.der, store, NOW).person == "PNOMN-123456789012"


# --- anchors and purpose -----------------------------------------------------------------------


def test_a_path_that_ends_at_another_issuers_root_is_refused() -> None:
    other = issue(authority_spec("Another Root", None))
    store = replace(
        memory_store(PKI),
        roots=(PKI.root.der, other.der),
        issuers=(citizen_profile(PKI, anchors=frozenset({other.der})),),
    )
    with pytest.raises(CertificateNotTrusted, match="not the issuer's"):
        validate_path(PKI.leaf.der, store, NOW)


def test_an_anchor_that_is_no_root_of_the_store_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="no root of the store"):
        memory_store(PKI, anchors=frozenset({PKI.citizen_ca.der}))


def test_a_strict_issuers_certificate_must_say_that_it_is_for_signing_in() -> None:
    silent = PKI.leaf_with(extended_key_usage=())
    validate_path(silent.der, memory_store(PKI), NOW)
    with pytest.raises(CertificatePurposeMissing, match="ExtendedKeyUsage"):
        validate_path(silent.der, memory_store(PKI, client_auth=ClientAuth.REQUIRED), NOW)


# --- the person --------------------------------------------------------------------------------


def _person(card: Issued, register: PersonRegister) -> str:
    return validate_path(card.der, memory_store(PKI, person=register), NOW).person


def test_a_certificate_that_the_register_does_not_name_is_refused() -> None:
    register = PersonRegister({4711: "PNOMN-000000000001"}, "PNOMN-[0-9]{12}")
    with pytest.raises(CertificatePersonMissing, match="register"):
        _person(PKI.leaf, register)
    assert _person(PKI.leaf_with(serial=4711), register) == "PNOMN-000000000001"
    assert "000000000001" not in repr(register)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('"12" = "PNOMN-1"', ConfigurationInvalid),
        ('"zz" = "PNOMN-000000000001"', PersonRegisterWrong),
        ('"12" = 1', PersonRegisterWrong),
        ('"12" = "PNOMN-000000000001"\n"012" = "PNOMN-000000000002"', PersonRegisterWrong),
        ("garbage", PersonRegisterWrong),
    ],
)
def test_a_register_that_binds_wrongly_is_refused(
    folder: Path, line: str, error: type[Exception]
) -> None:
    _edit(folder, 'nonce = "prefer"', 'nonce = "prefer"\nperson_register = "people.toml"')
    (folder / "issuers" / "people.toml").write_text(line)
    settings = load_settings(folder / "tamga.toml", {})
    with pytest.raises(error) as caught:
        profile_of(settings.trust.issuers[0], None)
    assert "000000000001" not in str(caught.value)


def test_a_register_names_the_person_by_serial_number(folder: Path) -> None:
    _edit(folder, 'nonce = "prefer"', 'nonce = "prefer"\nperson_register = "people.toml"')
    serial = f"{PKI.leaf.certificate.serial_number:x}"
    (folder / "issuers" / "people.toml").write_text(f'"{serial}" = "PNOMN-000000000001"')
    store = trust_store_of(load_settings(folder / "tamga.toml", {}))
    assert validate_path(PKI.leaf.der, store, NOW).person == "PNOMN-000000000001"


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (DisplayName.COMMON_NAME, "TAMM,MARI,48001010000"),
        (DisplayName.GIVEN_NAME_AND_SURNAME, "MARI TAMM"),
    ],
)
def test_a_person_is_greeted_by_the_issuers_rule(rule: DisplayName, name: str) -> None:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "TAMM,MARI,48001010000"),
            x509.NameAttribute(NameOID.SURNAME, "TAMM"),
            x509.NameAttribute(NameOID.GIVEN_NAME, "MARI"),
        ]
    )
    card = PKI.leaf_with(subject=subject)
    store = memory_store(PKI, display_name=rule)
    assert validate_path(card.der, store, NOW).display_name == name


# --- what is shipped, and the page -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "to_fill_in"),
    [
        ("mongolia-national", {"certificates", "person_pattern"}),
        ("estonia-like", {"certificates", "responders", "required_policies"}),
    ],
)
def test_a_shipped_profile_is_refused_until_it_is_filled_in(
    name: str, to_fill_in: set[str]
) -> None:
    with pytest.raises(ConfigurationWrong) as caught:
        read_issuer_profile(SHIPPED / f"{name}.toml")
    assert _keys(caught.value) == to_fill_in


@pytest.mark.parametrize("name", ["mongolia-national", "estonia-like"])
def test_a_shipped_profile_that_is_filled_in_is_read(tmp_path: Path, name: str) -> None:
    text = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    for key, value in (
        ("certificates", '["ca.cer"]'),
        ("anchors", '["root.cer"]'),
        ("responders", '["http://ocsp.example/"]'),
        ("required_policies", '["1.2.3"]'),
    ):
        text = text.replace(f"{key} = []", f"{key} = {value}")
    filled = tmp_path / "filled.toml"
    filled.write_text(text.replace('person_pattern = ""', 'person_pattern = "[0-9]{12}"'))
    read = read_issuer_profile(filled)
    assert read.anchors == (tmp_path / "root.cer",)
    assert read.certid_hash == "sha1"


def test_the_development_profile_is_what_init_writes(folder: Path) -> None:
    shipped = tomllib.loads((SHIPPED / "development.toml").read_text(encoding="utf-8"))
    assert shipped["nonce"] == "require"
    (folder / "pki").mkdir()
    (folder / "pki" / "citizen-ca.cer").write_bytes(PKI.citizen_ca.der)
    (folder / "pki" / "crl-citizen-ca.cer").write_bytes(PKI.delegate.der)
    shutil.copy(SHIPPED / "development.toml", folder)
    profile = profile_of(read_issuer_profile(folder / "development.toml"), None)
    reason = "the CAs above it in the development PKI publish no revocation lists"
    lists = "http://127.0.0.1:8480/crl/citizen-ca"
    assert profile == citizen_profile(
        PKI,
        name="citizen-ca",
        responders=("http://127.0.0.1:8480/ocsp/citizen-ca",),
        order=StatusOrder.OCSP_THEN_CRL,
        crl=CrlRules(
            (f"{lists}.crl", f"{lists}.delta.crl"),
            signers=(PKI.delegate.der,),
            refresh=timedelta(seconds=60),
        ),
        authority_status=AuthorityStatusUnpublished(reason),
    )


def test_the_page_has_the_table_of_the_types() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page_with(page, table()) == page
