"""Looks at a token without a login: what is there, and what stands against its PIN.

Nothing here spends a PIN try or changes a latch.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pkcs11_bridge import objects
from pkcs11_bridge.capabilities import TokenCapabilities, read_capabilities
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.description import TokenDescription
from pkcs11_bridge.latch import LatchState, PinLatch
from pkcs11_bridge.pin import Pin
from pkcs11_bridge.start_lock import alone_on_module


@dataclass(frozen=True, slots=True)
class SeenToken:
    """A token that is there.

    Attributes:
        description: which one.
        tries_left: PIN tries left where the token tells; None for unknown.
        capabilities: what it says that it can sign with.
    """

    description: TokenDescription
    tries_left: int | None
    capabilities: TokenCapabilities


@dataclass(frozen=True, slots=True)
class StandingLatch:
    """A latch that stands against the PIN that its source holds now.

    Attributes:
        state: how the last login ended.
        path: the latch's file.
        since: when it was written, aware UTC.
    """

    state: LatchState
    path: Path
    since: datetime


def look_at_module(config: TokenConfig) -> str:
    """Load and start the module; what it calls itself (CK_INFO.libraryDescription).

    Raises:
        ModuleUnusable, TokenBusy, ForkedProcess, DeviceUnavailable.
    """
    with alone_on_module(config.module, config.latch_directory) as module:
        return module.description


def look_at_token(config: TokenConfig) -> SeenToken:
    """Find the token.

    Raises:
        TokenNotFound, TokenAmbiguous: none, or several.
        TokenError: as ``look_at_module``.
    """
    with alone_on_module(config.module, config.latch_directory) as module:
        token = objects.find_token(module.library, config.uri)
        tries_left = objects.pin_tries_left(token, module.description)
        described = TokenDescription.of(token, module)
        return SeenToken(described, tries_left, read_capabilities(token))


def look_at_latch(config: TokenConfig, pin: Pin) -> StandingLatch | None:
    """What stands against this PIN on the token; None if nothing does.

    Read while no login is under way, so "attempting" means one that never ended.

    Raises:
        PinLatched: the latch's file cannot be read.
        TokenError: as ``look_at_token``.
    """
    with alone_on_module(config.module, config.latch_directory) as module:
        token = objects.find_token(module.library, config.uri)
        latch = PinLatch.of(
            config.latch_directory, module.path, token.label, objects.serial_of(token)
        )
        state = latch.standing(pin)
        if state is None:
            return None
        since = datetime.fromtimestamp(latch.path.stat().st_mtime, UTC)
        return StandingLatch(state, latch.path, since)
