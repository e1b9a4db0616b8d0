"""Where the processes of a role leave their measurements: files that one listener reads.

Nothing here imports the client library: it decides for files or memory when it is imported.
"""

import os
import stat
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Tells the client library the folder of this role's files."""


class MetricsFolderUnsafe(Exception):
    """The folder is not a folder of this user's alone."""


def prepare_folder(directory: Path, role: str, environment: MutableMapping[str, str]) -> None:
    """Make the role's folder, remove what ended processes left, and tell the client library.

    Call it before the role's processes are made.

    Args:
        directory: of all roles; made if it is missing.
        role: names the folder inside.
        environment: of this process, which its children inherit.

    Raises:
        MetricsFolderUnsafe: somebody else owns a folder or may enter it.
        OSError: it cannot be made.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _require_private(directory)
    folder = directory / role
    folder.mkdir(mode=0o700, exist_ok=True)
    _require_private(folder)
    for file in folder.glob("*.db"):
        if not _is_alive(file):
            file.unlink(missing_ok=True)
    environment[VARIABLE] = str(folder)


def measured_files(directory: Path) -> list[str]:
    """The files of all roles.

    What an ended process counted still counts; the levels that it reported are over.
    """
    return sorted(
        str(file)
        for file in directory.glob("*/*.db")
        if not file.name.startswith("gauge_live") or _is_alive(file)
    )


def _require_private(folder: Path) -> None:
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise MetricsFolderUnsafe(f"{folder} is not a folder of this user's alone (mode 0700)")


def _is_alive(file: Path) -> bool:
    """Whether the process that writes the file runs; its name ends with the process id."""
    number = file.stem.rpartition("_")[2]
    try:
        os.kill(int(number), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # it runs, as somebody else
    return True
