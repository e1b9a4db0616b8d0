"""The keys of the development CAs: in the token, or in memory for tests."""

import hashlib
from types import TracebackType
from typing import Protocol, Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.keyring import TokenKey, open_key
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.signing_keys import ec_signing_key, rsa_signing_key
from pkcs11_bridge.uri import Pkcs11Uri
from softhsm_config.certificate_plan import SigningKey
from softhsm_config.errors import KeyNotForCertificates
from softhsm_config.provision import SoftwareHsm
from softhsm_config.zones import DEVELOPMENT_CA, PKI, Zone


class CaKeys(Protocol):
    """Where the development PKI's keys are."""

    def signing_key(self, label: str) -> SigningKey:
        """Return the key object of a label: a CA's, or the OCSP delegate's."""
        ...


def certificate_key(key: TokenKey) -> SigningKey:
    """Return a token key as `cryptography`'s builders take it.

    Raises:
        KeyNotForCertificates: Neither RSA nor EC.
    """
    public_key = key.public_key

    def sign(message: bytes, hash_name: HashName) -> bytes:
        return key.sign_digest(hashlib.new(hash_name, message).digest(), hash_name)

    if isinstance(public_key, rsa.RSAPublicKey):
        return rsa_signing_key(public_key, sign)
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        return ec_signing_key(public_key, sign)
    raise KeyNotForCertificates(f"{key.uri} signs no certificates")


class TokenCaKeys:
    """The keys in the tokens of a software HSM; a context manager that logs in and out."""

    def __init__(self, hsm: SoftwareHsm, zones: tuple[Zone, ...] = (DEVELOPMENT_CA, PKI)) -> None:
        self._sessions: dict[str, TokenSessions] = {}
        for zone in zones:
            sessions = TokenSessions(hsm.token_config(zone.label))
            self._sessions |= dict.fromkeys(zone.keys, sessions)

    def signing_key(self, label: str) -> SigningKey:
        """Return the key of a label from the zone that holds it.

        Raises:
            KeyNotForCertificates: No zone has such a key.
            TokenError: As `open_key`.
        """
        sessions = self._sessions.get(label)
        if sessions is None:
            raise KeyNotForCertificates(f"no zone holds {label}")
        return certificate_key(open_key(sessions, Pkcs11Uri(object=label)))

    def close(self) -> None:
        """Log out of all tokens."""
        for sessions in self._sessions.values():
            sessions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
