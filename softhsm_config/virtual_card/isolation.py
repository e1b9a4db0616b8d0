"""Namespaces of our own for a pcscd of our own.

A pcscd that runs already is never touched, and no port is opened on the machine: network,
mounts and processes of the virtual reader live in namespaces. `launcher` is the outside;
everything else runs inside, as that namespace's root.
"""

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from softhsm_config.errors import IsolationUnavailable, ProgramMissing, ReaderFailed

PCSCD = "/usr/sbin/pcscd"
PCSCD_SOCKETS = Path("/run/pcscd")
DRIVERS = Path("/usr/lib/pcsc/drivers")
VPCD_DRIVER = DRIVERS / "serial" / "libifdvpcd.so"
VPCD_PORT = 0x8C7B

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_PR_SET_PDEATHSIG = 1
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child")


def launcher(*, allow_sudo: bool) -> tuple[str, ...]:
    """Return the command prefix that runs a program inside fresh namespaces.

    Tried in order: namespaces as root, a user namespace (no root needed where the kernel lets
    ordinary users have one), sudo without a question.

    Args:
        allow_sudo: Whether sudo may be tried last.

    Raises:
        IsolationUnavailable: None of them works here; the text says what a person can do.
    """
    for needed, package in (("unshare", "util-linux"), (PCSCD, "pcscd")):
        if shutil.which(needed) is None:
            raise ProgramMissing(needed, package)
    candidates: list[tuple[str, ...]] = [] if os.geteuid() else [_UNSHARE]
    candidates.append((_UNSHARE[0], "--map-root-user", *_UNSHARE[1:]))
    if allow_sudo and shutil.which("sudo") is not None:
        candidates.append(("sudo", "-n", *_UNSHARE))
    for candidate in candidates:
        if _works(candidate):
            return candidate
    raise IsolationUnavailable(
        "the virtual card reader needs network, mount and process namespaces of its own, and "
        "this machine grants none: allow unprivileged user namespaces, or run as root or with "
        "sudo (in a container: with the capability SYS_ADMIN)"
    )


def _works(prefix: tuple[str, ...]) -> bool:
    with tempfile.TemporaryDirectory(prefix="tamga-") as directory:
        probe = subprocess.run(
            [*prefix, "mount", "--bind", directory, directory],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    return probe.returncode == 0


def raise_loopback() -> None:
    """Bring up 127.0.0.1 of this network namespace (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def hide_the_machine(sockets: Path, empty: Path) -> None:
    """Give pcscd its own socket directory and no USB drivers, in this mount namespace.

    Without the second a laptop's real reader would be claimed by two pcscd at once.

    Args:
        sockets: Our directory that stands for /run/pcscd inside.
        empty: An empty directory that hides the installed drivers.
    """
    if not PCSCD_SOCKETS.exists():
        if sockets.is_relative_to("/run"):
            raise ReaderFailed(f"{PCSCD_SOCKETS} is missing and our directory lies in /run too")
        _mount("-t", "tmpfs", "tmpfs", "/run")
        PCSCD_SOCKETS.mkdir()
    _mount("--bind", str(sockets), str(PCSCD_SOCKETS))
    _mount("--bind", str(empty), str(DRIVERS))


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReaderFailed(f"mount {' '.join(arguments)}: {done.stderr.strip()}")


def copy_driver(target: Path) -> None:
    """Copy the virtual reader's driver to where it stays visible.

    Raises:
        ProgramMissing: The driver is not installed.
    """
    if not VPCD_DRIVER.exists():
        raise ProgramMissing(VPCD_DRIVER.name, "vsmartcard-vpcd")
    shutil.copyfile(VPCD_DRIVER, target)


def reader_configuration(name: str, driver: Path) -> str:
    """Return the text of a reader.conf file (reader.conf(5)) for the virtual reader."""
    return (
        f'FRIENDLYNAME "{name}"\n'
        f"DEVICENAME   /dev/null:0x{VPCD_PORT:X}\n"
        f"LIBPATH      {driver}\n"
        f"CHANNELID    0x{VPCD_PORT:X}\n"
    )


def pcscd_command(configuration: Path) -> list[str]:
    """Return the command line of a foreground pcscd that reads only our reader file.

    Newer versions ask polkit, which cannot see callers from inside a process namespace; our
    socket lies in an owner-only directory instead, so polkit is switched off where it exists.
    """
    usage = subprocess.run([PCSCD, "--help"], capture_output=True, text=True, check=False)
    extra = ["--disable-polkit"] if "--disable-polkit" in usage.stdout + usage.stderr else []
    return [PCSCD, "--foreground", "--config", str(configuration), *extra]


def become_owner_of(directory: Path) -> None:
    """Give up root if the directory belongs to somebody else (the person behind sudo)."""
    state = directory.stat()
    if os.geteuid() == 0 and state.st_uid != 0:
        os.setgroups([])
        os.setgid(state.st_gid)
        os.setuid(state.st_uid)
        # Changing the user clears what unshare --kill-child set (prctl(2), PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
