"""From paths and texts of the settings to the checked values of ocsp."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.client import PURPOSE
from ocsp.config import (
    CertIdHash,
    NonceMode,
)
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.errors import AddressRefused, ConnectionFailed, DestinationNotRegistered
from ocsp.persons import PersonAttribute
from tests.support.certificates import CITIZEN_POLICY, development_like_pki
from webapi.cli.home import Ports, SettingsFacts, TokenFacts, render_settings
from webapi.config import load_settings
from webapi.settings_model import Settings
from webapi.trust_settings import (
    CertificateFileWrong,
    egress_of,
    read_certificate_file,
    trust_store_of,
)

PKI = development_like_pki()


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    for name, issued in (
        ("root", PKI.root),
        ("national", PKI.national_ca),
        ("citizen", PKI.citizen_ca),
        ("delegate", PKI.delegate),
        ("crl", PKI.delegate),
    ):
        (tmp_path / f"{name}.cer").write_bytes(issued.der)
    facts = SettingsFacts(
        directory=tmp_path,
        ports=Ports(),
        module=Path("/usr/lib/softhsm/libsofthsm2.so"),
        softhsm2_conf=tmp_path / "softhsm2.conf",
        latches=tmp_path / "latches",
        tokens={"login": TokenFacts("tamga-login", tmp_path / "login.pin")},
        tls_certificate=tmp_path / "tls.crt",
        tls_key=tmp_path / "tls.key",
        root=tmp_path / "root.cer",
        national_ca=tmp_path / "national.cer",
        citizen_ca=tmp_path / "citizen.cer",
        delegate=tmp_path / "delegate.cer",
        crl_signer=tmp_path / "crl.cer",
        policy=CITIZEN_POLICY,
        ca_name="citizen-ca",
    )
    path = tmp_path / "tamga.toml"
    path.write_text(render_settings(facts), encoding="utf-8")
    return path


def loaded(path: Path, **overrides: str) -> Settings:
    return load_settings(path, overrides)


def test_what_init_writes_is_a_trust_store(settings_file: Path) -> None:
    store = trust_store_of(loaded(settings_file))
    assert store.roots == (PKI.root.der,)
    profile = store.issuers[0]
    assert profile.nonce is NonceMode.REQUIRE
    assert profile.certid_hash is CertIdHash.SHA256
    assert profile.person == PersonAttribute("2.5.4.5", "PNOMN-[0-9]{12}")
    assert profile.required_policies == {CITIZEN_POLICY}
    assert profile.responders == ("http://127.0.0.1:8480/ocsp/citizen-ca",)
    assert profile.order is StatusOrder.OCSP_THEN_CRL
    assert profile.crl == CrlRules(
        (
            "http://127.0.0.1:8480/crl/citizen-ca.crl",
            "http://127.0.0.1:8480/crl/citizen-ca.delta.crl",
        ),
        signers=(PKI.delegate.der,),
        refresh=timedelta(seconds=60),
    )


def test_settings_name_files_relative_to_themselves(settings_file: Path) -> None:
    assert str(settings_file.parent) not in settings_file.read_text(encoding="utf-8")


def test_pem_and_der_are_read(tmp_path: Path) -> None:
    pem = tmp_path / "root.pem"
    pem.write_bytes(PKI.root.certificate.public_bytes(Encoding.PEM))
    assert read_certificate_file(pem) == PKI.root.certificate


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\n", None])
def test_a_file_without_a_certificate_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "wrong.cer"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CertificateFileWrong, match=r"wrong\.cer"):
        read_certificate_file(path)


def post(settings: Settings, url: str) -> None:
    egress_of(settings).post(
        PURPOSE,
        url,
        b"",
        content_type="application/ocsp-request",
        accept="application/ocsp-response",
        max_bytes=10,
        timeout=timedelta(seconds=2),
    )


def test_only_the_issuers_responders_are_registered(settings_file: Path) -> None:
    with pytest.raises(DestinationNotRegistered):
        post(loaded(settings_file), "http://127.0.0.1:8480/elsewhere")


def test_loopback_needs_the_development_switch(settings_file: Path) -> None:
    url = "http://127.0.0.1:1/ocsp/citizen-ca"
    moved = settings_file.read_text(encoding="utf-8").replace(
        "http://127.0.0.1:8480/ocsp/citizen-ca", url
    )
    settings_file.write_text(moved, encoding="utf-8")
    with pytest.raises(ConnectionFailed):
        post(loaded(settings_file), url)
    switch = "TAMGA_DEVELOPMENT__DANGEROUS_DEVELOPMENT_ALLOW_LOOPBACK_RESPONDERS"
    with pytest.raises(AddressRefused):
        post(loaded(settings_file, **{switch: "false"}), url)


def test_a_private_address_needs_the_issuers_own_word(settings_file: Path) -> None:
    url = "http://10.255.255.1:9/ocsp"
    text = settings_file.read_text(encoding="utf-8").replace(
        "http://127.0.0.1:8480/ocsp/citizen-ca", url
    )
    settings_file.write_text(text, encoding="utf-8")
    with pytest.raises(AddressRefused, match="private network"):
        post(loaded(settings_file), url)
    settings_file.write_text(text + "responders_in_private_network = true\n", encoding="utf-8")
    (destination,) = egress_of(loaded(settings_file))._registered[PURPOSE]
    assert destination.allow_private
