"""A token in another process: a p11-kit server before SoftHSM, reached through a Unix socket.

It stands for a network HSM: its server can be killed and started again under load.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.daemons import Daemon, listens
from tests.support.softhsm import MODULE, make_softhsm


class P11KitServer:
    """A server for one SoftHSM token."""

    def __init__(self, folder: Path, token: str) -> None:
        self._folder = folder
        self._token = token
        self._socket = folder / "p11"
        self._daemon: Daemon | None = None
        self._softhsm = make_softhsm(folder / "softhsm")

    @property
    def environment(self) -> Mapping[str, str]:
        """Leads p11-kit's client module here."""
        return {"P11_KIT_SERVER_ADDRESS": f"unix:path={self._socket}"}

    def make_token(self, pin: str) -> None:
        self._softhsm.make_token(self._token, pin)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._socket.unlink(missing_ok=True)  # of a server that was killed
        command = ["p11-kit", "server", "-f", "--name", str(self._socket)]
        command += ["--provider", str(MODULE), f"pkcs11:token={self._token}"]
        daemon = Daemon(
            command, log=self._folder / "server.log", environment=self._softhsm.environment
        )
        self._daemon = daemon
        daemon.await_ready(lambda: listens(self._socket))

    def kill(self) -> None:
        """SIGKILL, for the processes that serve its connections, too."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon = None


@contextmanager
def p11_kit_server(folder: Path, token: str, pin: str) -> Iterator[P11KitServer]:
    """A server with a fresh token, for as long as the block lasts."""
    server = P11KitServer(folder, token)
    server.make_token(pin)
    try:
        server.start()
        yield server
    finally:
        server.kill()
