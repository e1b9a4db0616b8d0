"""The key zones of a development installation: tokens, each with its own PIN, and their keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pkcs11_bridge.mechanisms import KeyAlgorithm

ROOT_CA_KEY = "dev-root-ca"
NATIONAL_CA_KEY = "dev-national-ca"
CITIZEN_CA_KEY = "dev-citizen-ca"
SERVICE_CA_KEY = "dev-service-ca"
OCSP_CITIZEN_KEY = "ocsp-citizen-ca"
CRL_CITIZEN_KEY = "crl-citizen-ca"


@dataclass(frozen=True, slots=True)
class Zone:
    """One token.

    Attributes:
        label: Token label; also names its PIN files.
        keys: Key labels with their algorithms.
    """

    label: str
    keys: Mapping[str, KeyAlgorithm]


def _zone(label: str, **keys: KeyAlgorithm) -> Zone:
    named = {name.replace("_", "-"): algorithm for name, algorithm in keys.items()}
    return Zone(label, MappingProxyType(named))


_RECEIPT_KEYS = {
    "receipt_log": KeyAlgorithm.EC_P256,
    "receipt_log_ed25519": KeyAlgorithm.ED25519,
}

LOGIN = _zone("tamga-login", login_challenge=KeyAlgorithm.EC_P256)
RECEIPTS = _zone("tamga-receipts", **_RECEIPT_KEYS)
RECEIPTS_STANDBY = _zone("tamga-receipts-standby", **_RECEIPT_KEYS)
AUDIT = _zone("tamga-audit", audit=KeyAlgorithm.EC_P256)
PKI = _zone("tamga-pki", ocsp_citizen_ca=KeyAlgorithm.EC_P256, crl_citizen_ca=KeyAlgorithm.EC_P256)
DEVELOPMENT_CA = _zone(
    "tamga-dev-ca",
    dev_root_ca=KeyAlgorithm.RSA_4096,
    dev_national_ca=KeyAlgorithm.RSA_2048,
    dev_citizen_ca=KeyAlgorithm.RSA_2048,
    dev_service_ca=KeyAlgorithm.EC_P256,
)

ZONES = (LOGIN, RECEIPTS, RECEIPTS_STANDBY, PKI, AUDIT, DEVELOPMENT_CA)
