"""One start at a time: SoftHSM misreads its list of tokens while another process starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pkcs11_bridge.file_lock import exclusive_file_lock
from pkcs11_bridge.module import Module, load_module
from pkcs11_bridge.translation import translating

START_WAIT_SECONDS = 60.0
"""How long a start waits for other processes that start, each of which holds the lock briefly."""


def start_lock_path(module_path: Path, directory: Path) -> Path:
    """The lock file where processes that start on a module meet."""
    return directory / f"{module_path.name}.start.lock"


@contextmanager
def alone_on_module(module_path: Path, directory: Path) -> Iterator[Module]:
    """The module, loaded and up, while no other process starts and no thread here is inside.

    Binding errors inside leave as TokenError.

    Args:
        module_path: the PKCS#11 module; its environment is the caller's to set before.
        directory: the latch directory, where the start lock is.

    Raises:
        TokenBusy: others were starting, or inside, for START_WAIT_SECONDS.
        ModuleUnusable, ForkedProcess: as ``load_module``.
    """
    lock = start_lock_path(module_path, directory)
    with exclusive_file_lock(lock, START_WAIT_SECONDS):
        module = load_module(module_path)
        user = object()
        with module.gate.exclusive(START_WAIT_SECONDS):
            module.join(user)
            try:
                with translating():
                    yield module
            finally:
                module.leave(user)
