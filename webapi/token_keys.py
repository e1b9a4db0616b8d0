"""The keys on their zones' tokens: a part of the wiring.

A token is opened only by the process that signs with it, and only after the fork.
"""

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

from pkcs11_bridge.cluster import ClusterMember, open_cluster
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import Misconfigured, ModuleUnusable
from pkcs11_bridge.key_attributes import require_not_retired
from pkcs11_bridge.keyring import SigningKey, TokenKey, open_key
from pkcs11_bridge.pin_sources import EnvironmentPinSource, nobody_to_ask, parse_pin_source
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from signer.backend import SigningBackend
from signer.hsm_backend import HsmBackend
from signer.payload import Purpose
from signer.receipts.note import NotePublicKey, note_public_key
from signer.rotation import KeyState, Rotated, Rotation, only_key
from webapi.key_health import HealthFolder
from webapi.operations.metrics import Metrics
from webapi.settings_keys import rotation_of
from webapi.settings_model import Settings
from webapi.settings_tokens import Zone
from webapi.stuck_token import StuckToken
from webapi.supervisor import protect_memory
from webapi.watched import WatchedBackend

_ASKS_A_PERSON = "prompt"
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

SHIFT_PURPOSES = (Purpose.RECEIPT_LOG, Purpose.RECEIPT_LOG_ED25519, Purpose.AUDIT)
"""What it signs with the key with which it opened its logs."""


class SoftwareTokenInProduction(Exception):
    """In production a token said of itself that it is software."""


class ZoneNotConfigured(Exception):
    """A key is asked for whose zone has no section in the settings."""


class CertificateNotConfigured(Exception):
    """A key signs nothing without a certificate, and no setting says where it is."""


class KeyDeclaredTwice(Misconfigured):
    """The settings name one key for two purposes, or twice for one."""


AskPin = Callable[[Zone], str]
"""Asks a person for a zone's PIN; raises a TokenError where nobody can be asked."""


def ask_nobody(_zone: Zone) -> str:
    """As processes do; raises PinSourceUnreadable."""
    return nobody_to_ask()


def forget_pins(settings: Settings, *, except_of: Collection[Zone]) -> None:
    """Take the PINs that this process does not need out of its environment.

    Else whatever it starts would inherit them, and a zone's PIN would be in every process.

    Args:
        settings: name the tokens and their PIN sources.
        except_of: zones whose keys this process signs with.
    """
    for zone, token in settings.tokens.items():
        for one in token.tokens if zone not in except_of else ():
            source = parse_pin_source(one.pin_from, nobody_to_ask)
            if isinstance(source, EnvironmentPinSource):
                source.forget()


class TokenKeys:
    """This process's tokens; nothing is opened before it is asked for.

    Args:
        settings: name the tokens.
        metrics: told of sessions and signatures.
        ask_pin: asks a person for a zone's PIN, where the settings say `prompt`.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        ask_pin: AskPin = ask_nobody,
    ) -> None:
        self._settings = settings
        self._ask_pin = ask_pin
        self._metrics = metrics
        self._sessions: dict[Zone, tuple[TokenSessions, ...]] = {}
        self._lock = threading.Lock()
        development = settings.development
        if development is not None and development.softhsm2_conf is not None:
            # SoftHSM reads its configuration once, when the module is loaded.
            os.environ[SOFTHSM_VARIABLE] = str(development.softhsm2_conf)

    def close(self) -> None:
        """Log out of every token that was opened, also where one of them fails.

        Raises:
            pkcs11_bridge.errors.TokenError: the failure of one, after all were tried.
        """
        with ExitStack() as stack:
            for sessions in chain.from_iterable(self._sessions.values()):
                stack.callback(sessions.close)
            self._sessions.clear()

    def token(self, zone: Zone, number: int = 1) -> TokenSessions:
        """The sessions on one of a zone's tokens, counted from 1 as the settings name them.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            SoftwareTokenInProduction: it is a program, whatever its module is called.
            pkcs11_bridge.errors.TokenError: where it is opened here: in production, or where a
                person is asked for the PIN.
        """
        found = self._tokens(zone)[number - 1]
        self._refuse_software(zone, found)
        return found

    def tokens(self, zone: Zone) -> tuple[TokenSessions, ...]:
        """The sessions on each of a zone's tokens, the first one first; raises as `token` does."""
        found = self._tokens(zone)
        for sessions in found:
            self._refuse_software(zone, sessions)
        return found

    def _tokens(self, zone: Zone) -> tuple[TokenSessions, ...]:
        """The sessions on each of a zone's tokens, the first one first; not yet known as hardware.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            pkcs11_bridge.errors.TokenError: where a person is asked for the PIN.
        """
        with self._lock:
            if zone not in self._sessions:
                self._sessions[zone] = self._new_sessions(zone)
            found = self._sessions[zone]
        for token, sessions in zip(self._settings.tokens[zone].tokens, found, strict=True):
            if token.pin_source == _ASKS_A_PERSON:
                # Not on a thread of the pool, with its deadline: a person takes any time.
                sessions.open()
        return found

    def token_configs(self, zone: Zone) -> tuple[TokenConfig, ...]:
        """How each of a zone's tokens is opened, the first one first.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            pkcs11_bridge.errors.Misconfigured, UriInvalid: a limit, a path or a label.
        """
        settings = self._settings.tokens.get(zone)
        if settings is None:
            raise ZoneNotConfigured(f"there is no section [tokens.{zone}]")
        return tuple(
            TokenConfig(
                module=token.module,
                uri=Pkcs11Uri(token=token.token),
                pin_source=parse_pin_source(token.pin_from, lambda: self._ask_pin(zone)),
                latch_directory=settings.pin_latch_directory,
                sessions=settings.sessions,
                wait_seconds=settings.wait_seconds,
                max_waiting=settings.max_waiting,
                call_seconds=settings.call_seconds,
            )
            for token in settings.tokens
        )

    def health_folder(self, purpose: Purpose) -> HealthFolder:
        """Where a key's health is kept; raises ZoneNotConfigured."""
        return HealthFolder(self.token_configs(ZONE_OF[purpose])[0].latch_directory / "health")

    def require_healthy(self, purpose: Purpose, at: datetime) -> None:
        """Raises KeyUnhealthy where a process of this host says that the key does not sign.

        Nobody asks the key now. Of one whose zone is another host's alone nothing is known here.
        """
        if ZONE_OF[purpose] in self._settings.tokens:
            self.health_folder(purpose).require(purpose, at)

    def check_files(self, purposes: Iterable[Purpose]) -> None:
        """Refuse settings with which these purposes' tokens could not even be tried.

        No module is loaded and no PIN is used: the token may be another process's right now.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            pkcs11_bridge.errors.Misconfigured: a limit, the module's file or the PIN file.
        """
        for zone in dict.fromkeys(ZONE_OF[purpose] for purpose in purposes):
            for config in self.token_configs(zone):
                config.pin_source.read()
                if not config.module.is_file():
                    raise ModuleUnusable(f"tokens.{zone}: there is no module {config.module}")

    def rotation(self, purpose: Purpose) -> Rotation:
        """The keys of a purpose; without a section in the settings, the one that bears its name."""
        declared = self._settings.keys.get(purpose)
        return (
            only_key(str(Pkcs11Uri(object=purpose))) if declared is None else rotation_of(declared)
        )

    def next_change(self, purposes: Iterable[Purpose], at: datetime) -> datetime | None:
        """When one of these purposes first gets another key by itself; None where none will."""
        changes = (self.rotation(purpose).next_change(at) for purpose in purposes)
        return min((change for change in changes if change is not None), default=None)

    def declared(self, zone: Zone, key: Pkcs11Uri) -> tuple[Purpose, str] | None:
        """A key's purpose and how the settings name it; None where they do not.

        Args:
            zone: on whose token it is.
            key: its own URI, with label and id.

        Raises:
            KeyDeclaredTwice: for two purposes, or twice for one.
            pkcs11_bridge.errors.UriInvalid: the settings hold a URI that is none.
        """
        found = [
            (purpose, term.key)
            for purpose, its_zone in ZONE_OF.items()
            if its_zone == zone
            for term in self.rotation(purpose).terms
            if Pkcs11Uri.parse(term.key).selects(key)
        ]
        if len(found) > 1:
            told = ", ".join(f"{uri} for {purpose}" for purpose, uri in found)
            raise KeyDeclaredTwice(f"the settings name one key several times: {told}")
        return found[0] if found else None

    def certificate_file(self, purpose: Purpose, uri: str) -> Path | None:
        """Where the certificate of a purpose's key is; None where no setting names a place.

        What [ocsp_listener] names is of the key that is declared current.
        """
        declared = self._settings.keys.get(purpose, ())
        for one in declared:
            if one.key == uri and (one.certificate or one.state is not KeyState.CURRENT):
                return one.certificate
        listener = self._settings.ocsp_listener
        if listener is None:
            return None
        return {
            Purpose.OCSP_CITIZEN_CA: listener.delegate_certificate,
            Purpose.CRL_CITIZEN_CA: listener.crl_certificate,
        }.get(purpose)

    def certificate_files(self, purpose: Purpose) -> list[Path]:
        """Where the certificates of a purpose's keys are, as far as the settings name places."""
        files = (self.certificate_file(purpose, term.key) for term in self.rotation(purpose).terms)
        return [path for path in files if path is not None]

    def require_certificate_file(self, purpose: Purpose, uri: str) -> Path:
        """The same for a key that cannot sign without; raises CertificateNotConfigured."""
        path = self.certificate_file(purpose, uri)
        if path is None:
            raise CertificateNotConfigured(f"[[keys.{purpose}]]: {uri} needs a `certificate`")
        return path

    def key(self, purpose: Purpose, *, at: datetime) -> SigningKey:
        """The key that is current at a time, on its token; raises as `key_named` does."""
        return self.key_named(purpose, self.rotation(purpose).current(at).key)

    def key_named(self, purpose: Purpose, uri: str) -> SigningKey:
        """One of a purpose's keys, on its token, or on each of the zone's tokens.

        Raises:
            ZoneNotConfigured: the settings have no such token.
            KeyDeclaredTwice: the settings name the key for something else as well.
            SoftwareTokenInProduction: one of them is a program, whatever its module is called.
            pkcs11_bridge.errors.KeyRetiredOnToken: the token lets it sign nothing any more.
            pkcs11_bridge.errors.TokenError: the key cannot be had.
        """
        zone = ZONE_OF[purpose]
        tokens = self._tokens(zone)
        if len(tokens) == 1:
            return self._open_key(zone, tokens[0], uri)
        members = [
            ClusterMember(sessions.label, partial(self._open_key, zone, sessions, uri))
            for sessions in tokens
        ]
        return open_cluster(members, deadline_seconds=self._settings.tokens[zone].fail_over_seconds)

    def key_on(self, zone: Zone, number: int, uri: str) -> TokenKey:
        """A key on one of its zone's tokens alone; raises as `token` and `key_named` do."""
        return self._open_key(zone, self.token(zone, number), uri)

    def backend(self, purposes: Iterable[Purpose], *, at: datetime) -> SigningBackend:
        """What signs for these purposes under permits, by the keys that are current at a time.

        Raises:
            ZoneNotConfigured, pkcs11_bridge.errors.TokenError: a key cannot be had.
        """
        return self._backend({purpose: self.key(purpose, at=at) for purpose in purposes})

    def backends(self, purpose: Purpose) -> Rotated[SigningBackend]:
        """What signs for a purpose, for each key that does now or will by itself.

        Raises:
            ZoneNotConfigured, pkcs11_bridge.errors.TokenError: a key cannot be had.
        """
        rotation = self.rotation(purpose)
        made = {term.key: self.backend_named(purpose, term.key) for term in rotation.signing}
        return Rotated(rotation, made)

    def backend_named(self, purpose: Purpose, uri: str) -> SigningBackend:
        """What signs for a purpose by one key, whatever its state; raises as `key_named` does."""
        return self._backend({purpose: self.key_named(purpose, uri)})

    def next_public_keys(self, purposes: Iterable[Purpose], *, at: datetime) -> list[NotePublicKey]:
        """The log keys that are declared to follow; raises as `key_named`, and KeyMalformed."""
        return [
            note_public_key(self.backend_named(purpose, term.key).public_key(purpose))
            for purpose in purposes
            for term in self.rotation(purpose).accepted(at)
            if self.rotation(purpose).state(term.key, at) is KeyState.NEXT
        ]

    def _backend(self, keys: Mapping[Purpose, SigningKey]) -> SigningBackend:
        return WatchedBackend(HsmBackend(keys), self._metrics)

    def _new_sessions(self, zone: Zone) -> tuple[TokenSessions, ...]:
        protect_memory()
        made: list[TokenSessions] = []
        pool = self._metrics.token_pool(zone, StuckToken(zone, lambda: is_stuck(made)))
        made.extend(TokenSessions(config, pool) for config in self.token_configs(zone))
        return tuple(made)

    def _open_key(self, zone: Zone, sessions: TokenSessions, uri: str) -> TokenKey:
        self._refuse_software(zone, sessions)
        key = open_key(sessions, Pkcs11Uri.parse(uri))
        self.declared(zone, key.uri)
        require_not_retired(sessions, key.uri)
        return key

    def _refuse_software(self, zone: Zone, sessions: TokenSessions) -> None:
        if self._settings.service.mode == "production" and sessions.describe().is_software:
            raise SoftwareTokenInProduction(
                f"the token {sessions.label} of [tokens.{zone}] is a software token"
            )


class _Stickable(Protocol):
    """What is asked of `TokenSessions` here."""

    @property
    def is_stuck(self) -> bool: ...

    @property
    def is_ready(self) -> bool: ...


def is_stuck(zone: Sequence[_Stickable]) -> bool:
    """Whether calls into one of a zone's tokens hang, and no other signs in its place."""
    return any(each.is_stuck for each in zone) and not any(each.is_ready for each in zone)
