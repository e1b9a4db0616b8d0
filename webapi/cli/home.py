"""A development home: where its files are, and its configuration file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from webapi.storage.realm import Realm

DEFAULT_HTTPS_PORT = 8443
DEFAULT_OCSP_PORT = 8480


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a development service listens, on loopback.

    Attributes:
        https: the site.
        ocsp: the plain-HTTP listener.
    """

    https: int = DEFAULT_HTTPS_PORT
    ocsp: int = DEFAULT_OCSP_PORT

    @property
    def origin(self) -> str:
        """The site's origin."""
        return f"https://localhost:{self.https}"

    @property
    def status_base(self) -> str:
        """Base URL of OCSP and CA certificates."""
        return f"http://127.0.0.1:{self.ocsp}"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one development installation.

    Attributes:
        directory: absolute path.
    """

    directory: Path

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.directory / "tamga.toml"

    @property
    def hsm(self) -> Path:
        """The software HSM: tokens, PIN files, latches."""
        return self.directory / "hsm"

    @property
    def pki(self) -> Path:
        """Certificates of the development PKI."""
        return self.directory / "pki"

    @property
    def card(self) -> Path:
        """The citizen's card image."""
        return self.directory / "cards" / "citizen"

    @property
    def card_pin(self) -> Path:
        """The card's PIN, owner-only, for unattended runs."""
        return self.directory / "cards" / "citizen.pin"

    @property
    def origins(self) -> Path:
        """The agent's pinned origins."""
        return self.directory / "agent" / "origins.json"

    @property
    def root_pem(self) -> Path:
        """The development root, PEM, for those who connect."""
        return self.pki / "root-ca.pem"

    @property
    def election_key(self) -> Path:
        """The private key of the development election system, PEM, owner-only."""
        return self.directory / "election-system" / "key.pem"

    @property
    def election_public_key(self) -> Path:
        """Its public half, PEM."""
        return self.directory / "election-system" / "key.pub.pem"

    def standby_key(self, purpose: str) -> Path:
        """The public key, PEM, that the standby token holds for a purpose."""
        return self.directory / "standby-keys" / f"{purpose}.pem"


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """How a zone's token is reached.

    Attributes:
        token: its label.
        pin_file: its PIN.
    """

    token: str
    pin_file: Path


@dataclass(frozen=True, slots=True)
class SettingsFacts:
    """What the configuration file of a development home says.

    Attributes:
        directory: the home; paths below it are written relative to it.
        ports: where the service listens.
        module: the PKCS#11 module.
        softhsm2_conf: its configuration.
        latches: folder of the PIN latches.
        tokens: by zone.
        tls_certificate, tls_key: PEM files.
        root, national_ca, citizen_ca, delegate, crl_signer: certificate files.
        policy: the certificate policy that citizens' certificates must have.
        ca_name: the citizen CA's name in URLs.
    """

    directory: Path
    ports: Ports
    module: Path
    softhsm2_conf: Path
    latches: Path
    tokens: Mapping[str, TokenFacts]
    tls_certificate: Path
    tls_key: Path
    root: Path
    national_ca: Path
    citizen_ca: Path
    delegate: Path
    crl_signer: Path
    policy: str
    ca_name: str


def render_settings(facts: SettingsFacts) -> str:
    """The configuration file's text."""
    sections: dict[str, dict[str, object]] = {
        "service": {
            "mode": "development",
            "origin": facts.ports.origin,
            "listen_host": "127.0.0.1",
            "listen_port": facts.ports.https,
            "workers": 2,
            "tls_certificate": facts.tls_certificate,
            "tls_key": facts.tls_key,
        },
        **{f"database.{realm}": {"url": f"sqlite:///database/{realm}.db"} for realm in Realm},
        **{
            f"tokens.{zone}": {
                "module": facts.module,
                "token": token.token,
                "pin_file": token.pin_file,
                "pin_latch_directory": facts.latches,
            }
            for zone, token in facts.tokens.items()
        },
        "login": {"stock_target": 32},
        "ocsp_listener": {
            "listen_host": "127.0.0.1",
            "listen_port": facts.ports.ocsp,
            "ca": facts.ca_name,
            "ca_certificate": facts.citizen_ca,
            "delegate_certificate": facts.delegate,
            "crl_certificate": facts.crl_signer,
            "public_url": facts.ports.status_base,
            "crl_deltas": True,
        },
        "receipts": {"log_directory": "logs", "salt_key_directory": "salt-keys"},
        "audit": {"directory": "audit"},
        "development": {
            "softhsm2_conf": facts.softhsm2_conf,
            "dangerous_development_allow_loopback_responders": True,
        },
        "trust": {"roots": [facts.root], "intermediates": [facts.national_ca]},
        "[trust.issuers]": _issuer(facts),
    }
    lines = ["# Written by `tamga init`: a development service on this machine alone."]
    for name, values in sections.items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_toml(value, facts.directory)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _issuer(facts: SettingsFacts) -> dict[str, object]:
    """How the cards of the development CA are judged."""
    base, ca = facts.ports.status_base, facts.ca_name
    return {
        "name": facts.ca_name,
        "certificates": [facts.citizen_ca],
        # The lists stand in while the responder is down: logins never wait for the first ones.
        "order": "ocsp-then-crl",
        "responders": [f"{base}/ocsp/{ca}"],
        "crl_urls": [f"{base}/crl/{ca}.crl", f"{base}/crl/{ca}.delta.crl"],
        "crl_signers": [facts.crl_signer],
        "crl_refresh_seconds": 60,
        "nonce": "require",
        "authorities_publish_no_status_because": (
            "the CAs above it in the development PKI publish no revocation lists"
        ),
        "required_policies": [facts.policy],
        "person_attribute": "serialNumber",
        "person_pattern": "PNOMN-[0-9]{12}",
    }


def _toml(value: object, base: Path) -> str:
    """A value as TOML writes it; its strings are JSON's, its lists too."""
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item, base) for item in value) + "]"
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, Path) and value.is_relative_to(base):
        value = value.relative_to(base)
    return json.dumps(str(value), ensure_ascii=False)
