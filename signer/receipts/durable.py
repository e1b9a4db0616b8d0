"""Folders that are still there after a power failure: each is synchronised with its parent."""

import os
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, for their owner alone and durably."""
    for made in make_folders(folder):
        sync_folder(made)


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it, for their owner alone.

    Returns:
        All folders that must be synchronised before anything in the folder is durable: the
        new ones and the one that they are in.
    """
    missing = []
    present = folder
    while not present.exists():
        missing.append(present)
        present = present.parent
    for new in reversed(missing):
        new.mkdir(mode=FOLDER_MODE, exist_ok=True)
    return [*missing, present]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
