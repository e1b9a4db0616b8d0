"""What must be known to open one token."""

from dataclasses import dataclass
from pathlib import Path

from pkcs11_bridge.errors import Misconfigured, UriInvalid
from pkcs11_bridge.pin import PinSource
from pkcs11_bridge.uri import Pkcs11Uri

MAX_SESSIONS = 64
MAX_WAIT_SECONDS = 300.0
MAX_WAITING = 1_024


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """One token: its module, its name, its PIN's source and the limits on its use.

    The module's own environment (SOFTHSM2_CONF, OPENSC_CONF) is the caller's to set, before the
    first use.
    """

    module: Path
    """Absolute path of the PKCS#11 shared library."""
    uri: Pkcs11Uri
    """Selects the token: its label, and its serial number where labels repeat."""
    pin_source: PinSource
    latch_directory: Path
    """Owner-only directory, shared by all processes that use the token: locks and PIN latches."""
    sessions: int = 4
    """Size of the pool: at most this many operations at once."""
    wait_seconds: float = 10.0
    """How long an operation waits for a free session before TokenBusy."""
    max_waiting: int = 64
    """So many threads wait for a session; any further is told TokenBusy at once."""
    call_seconds: float = 15.0
    """How long an operation may take in the token before TokenHung."""

    def __post_init__(self) -> None:
        """Raises Misconfigured for a relative path or a limit out of range, UriInvalid."""
        if not self.module.is_absolute() or not self.latch_directory.is_absolute():
            raise Misconfigured("module and latch_directory are absolute paths")
        if not 1 <= self.sessions <= MAX_SESSIONS:
            raise Misconfigured(f"sessions is 1 to {MAX_SESSIONS}")
        if not 0 < self.wait_seconds <= MAX_WAIT_SECONDS:
            raise Misconfigured(f"wait_seconds is above 0, at most {MAX_WAIT_SECONDS}")
        if not 0 <= self.max_waiting <= MAX_WAITING:
            raise Misconfigured(f"max_waiting is 0 to {MAX_WAITING}")
        if not 0 < self.call_seconds <= MAX_WAIT_SECONDS:
            raise Misconfigured(f"call_seconds is above 0, at most {MAX_WAIT_SECONDS}")
        if self.uri.token is None:
            raise UriInvalid("the token is selected by its label")
        if (self.uri.object, self.uri.id, self.uri.type) != (None, None, None):
            raise UriInvalid("a token's URI names no object")
