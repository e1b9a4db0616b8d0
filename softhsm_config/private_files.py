"""Files that hold secrets: owner-only from their first byte, never half-written."""

import os
import secrets
from pathlib import Path

OWNER_DIRECTORY = 0o700
OWNER_FILE = 0o600


def make_private_directory(path: Path) -> None:
    """Create a directory that only its owner can enter; an existing one is narrowed to that."""
    path.mkdir(mode=OWNER_DIRECTORY, parents=True, exist_ok=True)
    path.chmod(OWNER_DIRECTORY)


def write_private(path: Path, content: bytes) -> None:
    """Write a file durably and at once: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: Where it goes; replaced if it exists.
        content: Whole new content.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def is_private(path: Path) -> bool:
    """Tell whether the path is ours and closed to group and others."""
    state = path.stat()
    return state.st_uid == os.geteuid() and not state.st_mode & 0o077
