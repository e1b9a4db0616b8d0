"""Provisions a software HSM in a directory: configuration, tokens, PIN files, one key per purpose.

    softhsm2.conf   SoftHSM's configuration
    tokens/         its token store
    pins/           <token>.pin and <token>.so-pin, one PIN a file, owner-only
    latches/        the PIN latches and start locks of pkcs11_bridge

No root. A second run changes nothing; a run that was cut short is completed by the next.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import KeyNotFound
from pkcs11_bridge.file_lock import exclusive_file_lock
from pkcs11_bridge.keyring import generate_key, open_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.provisioning import ensure_token, remove_key_remains
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from softhsm_config.errors import EnvironmentTaken
from softhsm_config.modules import softhsm_module
from softhsm_config.private_files import make_private_directory, write_private
from softhsm_config.zones import ZONES, Zone

CONF_VARIABLE = "SOFTHSM2_CONF"
PIN_DIGITS = 8
_LOCK_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class SoftwareHsm:
    """A provisioned directory.

    Attributes:
        directory: Absolute path.
        module: SoftHSM's PKCS#11 module.
    """

    directory: Path
    module: Path

    @property
    def configuration(self) -> Path:
        """SoftHSM's configuration file, for SOFTHSM2_CONF."""
        return self.directory / "softhsm2.conf"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that every process using these tokens needs."""
        return {CONF_VARIABLE: str(self.configuration)}

    @property
    def latches(self) -> Path:
        """Shared directory of PIN latches and start locks."""
        return self.directory / "latches"

    def pin_file(self, token: str) -> Path:
        """Return the file with a token's user PIN."""
        return self.directory / "pins" / f"{token}.pin"

    def so_pin_file(self, token: str) -> Path:
        """Return the file with a token's security officer PIN."""
        return self.directory / "pins" / f"{token}.so-pin"

    def token_config(self, token: str, *, sessions: int = 2) -> TokenConfig:
        """Return how to open a token with pkcs11_bridge."""
        return TokenConfig(
            module=self.module,
            uri=Pkcs11Uri(token=token),
            pin_source=FilePinSource(self.pin_file(token)),
            latch_directory=self.latches,
            sessions=sessions,
        )

    def enter(self) -> None:
        """Lead this process's SoftHSM to the directory; before its first use of the module.

        Raises:
            EnvironmentTaken: SOFTHSM2_CONF leads elsewhere already.
        """
        wanted = str(self.configuration)
        if os.environ.setdefault(CONF_VARIABLE, wanted) != wanted:
            raise EnvironmentTaken(f"{CONF_VARIABLE} is set to another configuration")


@dataclass(frozen=True, slots=True)
class Provisioning:
    """What a run did.

    Attributes:
        hsm: The provisioned directory.
        tokens_made: Labels of tokens made or finished.
        keys_made: PKCS#11 URIs of keys made.
    """

    hsm: SoftwareHsm
    tokens_made: tuple[str, ...]
    keys_made: tuple[str, ...]


def software_hsm(directory: Path) -> SoftwareHsm:
    """Return the layout of a directory, provisioned or not.

    Raises:
        ProgramMissing: SoftHSM is not installed.
    """
    return SoftwareHsm(directory.absolute(), softhsm_module())


def provision(directory: Path, zones: Iterable[Zone] = ZONES) -> Provisioning:
    """Make what is missing of the zones' tokens and keys.

    Args:
        directory: Made if missing; owner-only.
        zones: Tokens and keys to provide.

    Raises:
        ProgramMissing: SoftHSM is not installed.
        EnvironmentTaken: This process uses another SoftHSM configuration.
        TokenError: The module, a token or a PIN file is unusable.
    """
    hsm = software_hsm(directory)
    make_private_directory(hsm.directory)
    with exclusive_file_lock(hsm.directory / "provision.lock", _LOCK_SECONDS):
        for folder in (hsm.directory / "tokens", hsm.pin_file("").parent, hsm.latches):
            make_private_directory(folder)
        _write_configuration(hsm)
        hsm.enter()
        tokens, keys = [], []
        for zone in zones:
            if _provide_token(hsm, zone.label):
                tokens.append(zone.label)
            keys += _provide_keys(hsm, zone)
        return Provisioning(hsm, tuple(tokens), tuple(keys))


def _write_configuration(hsm: SoftwareHsm) -> None:
    text = (
        f"directories.tokendir = {hsm.directory / 'tokens'}\n"
        "objectstore.backend = file\n"
        "log.level = ERROR\n"
        "library.reset_on_fork = false\n"
    ).encode()
    if not hsm.configuration.exists() or hsm.configuration.read_bytes() != text:
        write_private(hsm.configuration, text)


def _provide_token(hsm: SoftwareHsm, label: str) -> bool:
    # PIN files first: a token whose PIN nobody knows could not be finished by the next run.
    for path in (hsm.so_pin_file(label), hsm.pin_file(label)):
        if not path.exists():
            pin = "".join(secrets.choice("0123456789") for _ in range(PIN_DIGITS))
            write_private(path, f"{pin}\n".encode())
    return ensure_token(
        hsm.module,
        label,
        so_pin=FilePinSource(hsm.so_pin_file(label)).read(),
        user_pin=FilePinSource(hsm.pin_file(label)).read(),
        lock_directory=hsm.latches,
    )


def _provide_keys(hsm: SoftwareHsm, zone: Zone) -> list[str]:
    made = []
    with TokenSessions(hsm.token_config(zone.label)) as sessions:
        for label, algorithm in zone.keys.items():
            try:
                open_key(sessions, Pkcs11Uri(object=label))
            except KeyNotFound:
                remove_key_remains(sessions, label)
                made.append(str(generate_key(sessions, label, algorithm).uri))
    return made
