"""A service with one token, and `tamga key` run on it in process."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.signing_keys import ec_signing_key
from tests.support.certificates import (
    NOW,
    CertificateSpec,
    PrivateKey,
    development_like_pki,
    issue,
)
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi import clock
from webapi.cli import main
from webapi.config import load_settings
from webapi.settings_model import Settings
from webapi.storage.engine import opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm

PURPOSE = "ocsp-citizen-ca"
PKI = development_like_pki()


@dataclass(frozen=True)
class DeskService:
    """The settings' folder; its token is the one of zone pki."""

    folder: Path
    token: TokenConfig

    @property
    def config(self) -> Path:
        return self.folder / "tamga.toml"

    @property
    def delegate(self) -> Path:
        return self.folder / "delegate.cer"

    def settings(self) -> Settings:
        return load_settings(self.config, {})

    def declare(self, *keys: str, purpose: str = PURPOSE) -> None:
        """Put [[keys.<purpose>]] tables, each of these lines, in place of all that were there."""
        text = self.config.read_text().partition("\n[[keys.")[0]
        tables = "".join(f"\n[[keys.{purpose}]]\n{lines}\n" for lines in keys)
        self.config.write_text(text + tables)

    def run(self, *arguments: str, input_: str | None = None) -> Result:
        command = ["--config", str(self.config), *arguments]
        return CliRunner().invoke(main, command, input=input_, prog_name="tamga")

    def done(self, *arguments: str) -> Any:
        """What a command that succeeds says in JSON."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, *arguments: str) -> str:
        """What a command that is refused tells."""
        result = self.run(*arguments)
        assert result.exit_code == 1, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.stderr

    def certified(self, public_key: object, **changes: object) -> Path:
        """A file with an OCSP delegate's certificate of a key in the token."""
        return self.certified_as(replace(PKI.delegate_spec, **changes), public_key)  # type: ignore[arg-type]  # names and types are CertificateSpec's

    def certified_as(self, spec: CertificateSpec, public_key: object) -> Path:
        """A file with such a certificate of a key in the token."""
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        subject_key = cast("PrivateKey", ec_signing_key(public_key, _never))
        path = self.folder / "from-the-ca.cer"
        path.write_bytes(issue(replace(spec, key=subject_key)).der)
        return path

    def public_key(self, output: str) -> object:
        """The public key that a command printed."""
        return load_pem_public_key(output[output.index("-----BEGIN") :].encode())


def _never(*_: object) -> bytes:
    raise AssertionError("the subject's key signs no certificate")


@pytest.fixture
def desk(tmp_path: Path, token: TokenConfig, monkeypatch: pytest.MonkeyPatch) -> DeskService:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    assert isinstance(token.pin_source, FilePinSource)
    service = DeskService(tmp_path, token)
    text = (
        DEVELOPMENT_SETTINGS.replace("[tokens.login]", "[tokens.pki]")
        .replace("tamga-login", token.uri.token or "")
        .replace("pins/login", str(token.pin_source.path))
        .replace('"latches"', f'"{token.latch_directory}"')
        .replace('"softhsm2.conf"', f'"{token.latch_directory.parent / "softhsm2.conf"}"')
    )
    listener = 'ca = "citizen-ca"\nca_certificate = "ca.pem"\ndelegate_certificate = "delegate.cer"'
    service.config.write_text(f"{text}\n[ocsp_listener]\n{listener}\n")
    (tmp_path / "ca.pem").write_bytes(PKI.citizen_ca.certificate.public_bytes(Encoding.PEM))
    with opened_engine(service.settings().database.pki.url, Realm.PKI) as engine:
        upgrade(engine, Realm.PKI)
    return service
