"""Certomancer as a peer: its certificates and its responder, judged by our client over HTTP.

Its clock is fixed: by the machine's it writes fractions of seconds, which RFC 5280 forbids.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from certomancer.integrations.animator import Animator, AnimatorArchStore
from certomancer.registry import ArchLabel, CertLabel, CertomancerConfig
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from werkzeug.serving import make_server

from ocsp.chain import validate_path
from ocsp.client import PURPOSE, OcspClient
from ocsp.config import (
    CertIdHash,
    IssuerProfile,
    RequestMethod,
    TrustStore,
)
from ocsp.destination import Destination
from ocsp.errors import CertificateRevoked, CertificateStatusUnavailable, CertificateSuspended
from ocsp.persons import PersonAttribute
from ocsp.transport import Egress
from ocsp.trust import TrustedCertificate, establish_trust
from tests.support.certificates import CITIZEN_POLICY, NOW, KeyKind, private_key
from tests.support.trust import NO_LISTS_ABOVE

REVOKED_AT = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
ALWAYS = {"valid-from": "2020-01-01T00:00:00+0000", "valid-to": "2100-01-01T00:00:00+0000"}
KEYS = ("ca", "delegate", "card", "other-ca", "other-delegate")
Yaml = dict[str, Any]  # a configuration


def _usage(*bits: str) -> Yaml:
    return {
        "id": "key_usage",
        "critical": True,
        "smart-value": {"schema": "key-usage", "params": list(bits)},
    }


def _authority(name: str) -> Yaml:
    return {
        "subject": name,
        "subject-key": name,
        "issuer": name,
        "authority-key": name,
        "validity": ALWAYS,
        "extensions": [
            {"id": "basic_constraints", "critical": True, "value": {"ca": True}},
            _usage("key_cert_sign", "crl_sign"),
        ],
    }


def _delegate(name: str, issuer: str) -> Yaml:
    return {
        "subject": name,
        "subject-key": name,
        "issuer": issuer,
        "authority-key": issuer,
        "validity": ALWAYS,
        "extensions": [
            _usage("digital_signature"),
            {"id": "extended_key_usage", "value": ["ocsp_signing"]},
            {"id": "ocsp_no_check"},
        ],
    }


def _card(reason: str | None = None) -> Yaml:
    card: Yaml = {
        "subject": "card",
        "subject-key": "card",
        "issuer": "ca",
        "authority-key": "ca",
        "validity": ALWAYS,
        "extensions": [
            _usage("digital_signature"),
            {"id": "extended_key_usage", "value": ["client_auth"]},
            {
                "id": "certificate_policies",
                "value": [{"policy_identifier": CITIZEN_POLICY}],
            },
        ],
    }
    if reason is not None:
        since = REVOKED_AT.strftime("%Y-%m-%dT%H:%M:%S+0000")
        card["revocation"] = {"revoked-since": since, "reason": reason}
    return card


def _configuration() -> Yaml:
    return {
        "keysets": {"keys": {"keys": {name: {"path": f"{name}.pem"} for name in KEYS}}},
        "pki-architectures": {
            "pki": {
                "keyset": "keys",
                "entities": {
                    **{name: {"common-name": name} for name in KEYS if name != "card"},
                    "card": {"common-name": "card", "serial-number": "PNOMN-123456789012"},
                },
                "certs": {
                    "ca": _authority("ca"),
                    "other-ca": _authority("other-ca"),
                    "delegate": _delegate("delegate", "ca"),
                    "other-delegate": _delegate("other-delegate", "other-ca"),
                    "good": _card(),
                    "revoked": _card("key_compromise"),
                    "held": _card("certificate_hold"),
                },
                "services": {
                    "ocsp": {
                        "right": {"for-issuer": "ca", "responder-cert": "delegate"},
                        "wrong": {"for-issuer": "ca", "responder-cert": "other-delegate"},
                    }
                },
            }
        },
    }


@dataclass(frozen=True)
class Peer:
    """A running responder and the PKI that it made."""

    config: CertomancerConfig
    url: str

    def certificate(self, label: str) -> bytes:
        der: bytes = self.config.get_pki_arch(ArchLabel("pki")).get_cert(CertLabel(label)).dump()
        return der

    def ask(
        self, label: str, service: str = "right", certid_hash: CertIdHash = CertIdHash.SHA256
    ) -> TrustedCertificate:
        url = f"{self.url}/pki/ocsp/{service}"
        profile = IssuerProfile(
            name="certomancer",
            certificates=(self.certificate("ca"),),
            responders=(url,),
            required_policies=frozenset({CITIZEN_POLICY}),
            person=PersonAttribute("2.5.4.5", "PNOMN-[0-9]{12}"),
            authority_status=NO_LISTS_ABOVE,
            certid_hash=certid_hash,
            method=RequestMethod.POST,  # it knows no other
        )
        store = TrustStore(profile.certificates, intermediates=(), issuers=(profile,))
        chain = validate_path(self.certificate(label), store, NOW)
        egress = Egress({PURPOSE: (Destination(url, allow_loopback=True),)})
        return establish_trust(chain, source=OcspClient(egress), at=NOW)


@pytest.fixture(scope="module", params=["p256", "rsa2048"])
def peer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    folder: Path = tmp_path_factory.mktemp("certomancer")
    kind: KeyKind = request.param
    for name in KEYS:
        pem = private_key(f"certomancer {name} {kind}", kind).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
        (folder / f"{name}.pem").write_bytes(pem)
    config = CertomancerConfig(_configuration(), key_search_dir=str(folder))
    store = AnimatorArchStore(config.pki_archs)
    application = Animator(store, at_time=NOW, with_web_ui=False)
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Peer(config, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def test_a_revoked_and_a_suspended_certificate_are_told_apart(peer: Peer) -> None:
    with pytest.raises(CertificateRevoked) as revoked:
        peer.ask("revoked")
    assert (revoked.value.revoked_at, revoked.value.reason) == (REVOKED_AT, "keyCompromise")
    with pytest.raises(CertificateSuspended) as held:
        peer.ask("held")
    assert held.value.since == REVOKED_AT


def test_the_delegate_of_another_authority_is_refused(peer: Peer) -> None:
    with pytest.raises(CertificateStatusUnavailable, match="ResponderNotAuthorised"):
        peer.ask("good", "wrong")


@pytest.mark.parametrize("certid_hash", CertIdHash)
def test_a_good_certificate_is_trusted_with_our_nonce(peer: Peer, certid_hash: CertIdHash) -> None:
    trusted = peer.ask("good", certid_hash=certid_hash)
    assert trusted.evidence.nonce_matched
    assert "delegate" in trusted.evidence.responder_name
