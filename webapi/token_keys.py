"""The keys on their zones' tokens: a part of the wiring.

A token is opened only by the process that signs with it, and only after the fork.
"""

import os
from collections.abc import Iterable, Mapping

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import ModuleUnusable
from pkcs11_bridge.keyring import TokenKey, open_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from signer.backend import SigningBackend
from signer.hsm_backend import HsmBackend
from signer.payload import Purpose
from webapi.operations.metrics import Metrics
from webapi.settings_model import Settings, Zone
from webapi.supervisor import protect_memory
from webapi.watched import WatchedBackend

SOFTHSM_VARIABLE = "SOFTHSM2_CONF"
ZONE_OF: Mapping[Purpose, Zone] = {
    Purpose.LOGIN_CHALLENGE: "login",
    Purpose.RECEIPT_LOG: "receipts",
    Purpose.RECEIPT_LOG_ED25519: "receipts",
    Purpose.OCSP_CITIZEN_CA: "pki",
    Purpose.CRL_CITIZEN_CA: "pki",
    Purpose.AUDIT: "audit",
}
"""On which zone's token each purpose has its key."""

WORKER_PURPOSES = (
    Purpose.LOGIN_CHALLENGE,
    Purpose.RECEIPT_LOG,
    Purpose.RECEIPT_LOG_ED25519,
    Purpose.AUDIT,
)
"""What the background worker signs."""


class SoftwareTokenInProduction(Exception):
    """In production a token said of itself that it is software."""


class ZoneNotConfigured(Exception):
    """A key is asked for whose zone has no section in the settings."""


class TokenKeys:
    """This process's tokens; nothing is opened before it is asked for.

    Args:
        settings: name the tokens.
        metrics: told of sessions and signatures.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._sessions: dict[Zone, TokenSessions] = {}
        development = settings.development
        if development is not None and development.softhsm2_conf is not None:
            # SoftHSM reads its configuration once, when the module is loaded.
            os.environ[SOFTHSM_VARIABLE] = str(development.softhsm2_conf)

    def close(self) -> None:
        """Log out of every token that was opened."""
        for sessions in self._sessions.values():
            sessions.close()
        self._sessions.clear()

    def token(self, zone: Zone) -> TokenSessions:
        """The sessions on a zone's token.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            SoftwareTokenInProduction: it is a program, whatever its module is called.
            pkcs11_bridge.errors.TokenError: in production, where it is opened here.
        """
        if zone not in self._sessions:
            self._sessions[zone] = self._new_sessions(zone)
        sessions = self._sessions[zone]
        if self._settings.service.mode == "production" and sessions.describe().is_software:
            raise SoftwareTokenInProduction(f"the token of [tokens.{zone}] is a software token")
        return sessions

    def token_config(self, zone: Zone) -> TokenConfig:
        """How a zone's token is opened; raises ZoneNotConfigured."""
        settings = self._settings.tokens.get(zone)
        if settings is None:
            raise ZoneNotConfigured(f"there is no section [tokens.{zone}]")
        return TokenConfig(
            module=settings.module,
            uri=Pkcs11Uri(token=settings.token),
            pin_source=FilePinSource(settings.pin_file),
            latch_directory=settings.pin_latch_directory,
            sessions=settings.sessions,
            wait_seconds=settings.wait_seconds,
        )

    def check_files(self, purposes: Iterable[Purpose]) -> None:
        """Refuse settings with which these purposes' tokens could not even be tried.

        No module is loaded and no PIN is used: the token may be another process's right now.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            pkcs11_bridge.errors.Misconfigured: a limit, the module's file or the PIN file.
        """
        for zone in dict.fromkeys(ZONE_OF[purpose] for purpose in purposes):
            config = self.token_config(zone)
            config.pin_source.read()
            if not config.module.is_file():
                raise ModuleUnusable(f"tokens.{zone}: there is no module {config.module}")

    def key(self, purpose: Purpose) -> TokenKey:
        """A purpose's key on its token; raises as `backend` does."""
        return open_key(self.token(ZONE_OF[purpose]), Pkcs11Uri(object=purpose))

    def backend(self, purposes: Iterable[Purpose]) -> SigningBackend:
        """What signs for these purposes under permits; their keys are looked up now.

        Raises:
            ZoneNotConfigured, pkcs11_bridge.errors.TokenError: a key cannot be had.
        """
        keys = {purpose: self.key(purpose) for purpose in purposes}
        return WatchedBackend(HsmBackend(keys), self._metrics)

    def _new_sessions(self, zone: Zone) -> TokenSessions:
        config = self.token_config(zone)
        protect_memory()
        return TokenSessions(config, self._metrics.token_pool(zone))
