"""A TPM 2.0 in software: swtpm, its resource manager tpm2-abrmd, a message bus for the two alone.

All on Unix sockets in one folder: nothing listens on a network interface, and neither the
machine's own bus nor its TPM is touched.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemons import Daemon, listens, running

TOKEN = "tpm"
PIN = "648219"
SO_PIN = "12345678"
_BUS_NAME = "com.intel.tss2.Tabrmd"


@dataclass(frozen=True)
class SoftwareTpm:
    """A running TPM.

    Attributes:
        module: tpm2-pkcs11.
        environment: leads the module to it.
    """

    module: Path
    environment: Mapping[str, str]

    def make_token(self) -> None:
        """The token, with its PINs; the store lies beside the TPM's state."""
        self._tool("--slot-index", "0", "--init-token", "--label", TOKEN, "--so-pin", SO_PIN)
        so = ("--login", "--login-type", "so", "--so-pin", SO_PIN)
        self._tool("--token-label", TOKEN, *so, "--init-pin", "--new-pin", PIN)

    def make_key(self, label: str, key_type: str, key_id: str) -> None:
        """A key pair by pkcs11-tool: the module refuses the binding's template for curves."""
        login = ("--token-label", TOKEN, "--login", "--pin", PIN)
        self._tool(*login, "--keypairgen", "--key-type", key_type, "--label", label, "--id", key_id)

    def _tool(self, *arguments: str) -> None:
        done = subprocess.run(
            ["pkcs11-tool", "--module", str(self.module), *arguments],
            env={**self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def software_tpm(folder: Path, module: Path) -> Iterator[SoftwareTpm]:
    """A fresh TPM in a folder with a short path, for as long as the block lasts."""
    for name in ("state", "store"):
        (folder / name).mkdir()
    socket, bus = folder / "tpm", f"unix:path={folder / 'bus'}"
    swtpm = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / 'state'}"]
    swtpm += ["--server", f"type=unixio,path={socket}"]
    swtpm += ["--ctrl", f"type=unixio,path={socket}.ctrl"]  # where the TCTI looks
    swtpm += ["--flags", "not-need-init,startup-clear"]
    manager = ["tpm2-abrmd", "--session", "--allow-root", "--flush-all"]
    manager += [f"--tcti=swtpm:path={socket}"]
    on_bus = {"DBUS_SESSION_BUS_ADDRESS": bus}
    with ExitStack() as stack:

        def start(name: str, command: list[str], environment: dict[str, str]) -> Daemon:
            return Daemon(command, log=folder / f"{name}.log", environment=environment)

        dbus = ["dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={bus}"]
        stack.enter_context(running(start("dbus", dbus, {}), lambda: listens(folder / "bus")))
        control = Path(f"{socket}.ctrl")
        tpm = start("swtpm", swtpm, {})
        stack.enter_context(running(tpm, lambda: listens(socket) and listens(control)))
        abrmd = start("abrmd", manager, on_bus)
        stack.enter_context(running(abrmd, lambda: _is_on_bus(bus)))
        environment = {
            **on_bus,
            "TPM2_PKCS11_TCTI": "tabrmd:bus_type=session",
            "TPM2_PKCS11_STORE": str(folder / "store"),
            "TSS2_LOG": "all+NONE",
            "PATH": "/usr/bin:/bin",
        }
        yield SoftwareTpm(module, environment)


def _is_on_bus(bus: str) -> bool:
    asked = ["dbus-send", f"--bus={bus}", "--print-reply", "--dest=org.freedesktop.DBus", "/"]
    asked += ["org.freedesktop.DBus.NameHasOwner", f"string:{_BUS_NAME}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    return "boolean true" in done.stdout
