"""Files that commands write: never half, never over what was not meant."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from signer.receipts.durable import sync_folder

_PUBLIC_FILE = 0o644


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that everybody may read, durably and at once, in place of the present one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PUBLIC_FILE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.absolute().parent)


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[bytes], int]]:
    """A file that is made here, and gone again if anything fails.

    Raises:
        click.ClickException: there is one already, or it cannot be made.
    """
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        raise click.ClickException(f"{path} cannot be made: {error.strerror}") from error
    try:
        yield path.write_bytes
    except BaseException:
        path.unlink(missing_ok=True)
        raise
