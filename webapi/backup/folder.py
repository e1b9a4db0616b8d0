"""The rim to the disk: a backup's folder, written whole or not at all, and read without trust."""

import hashlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from signer.receipts.durable import FILE_MODE, FOLDER_MODE, sync_folder
from webapi.backup.errors import (
    BackupDamaged,
    BackupError,
    BackupExists,
    BackupIncomplete,
    BackupManifestMalformed,
    BackupNotWritten,
)
from webapi.backup.manifest import MAX_MANIFEST_BYTES, FileRecord

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder under a temporary name, for its owner alone; it gets its own at the end, durably.

    What fails leaves nothing behind.

    Raises:
        BackupExists: there is something of this name, or no folder to put it into.
        BackupNotWritten: the disk refused something.
    """
    target = target.absolute()
    if os.path.lexists(target):
        raise BackupExists(f"{target} exists; a backup never replaces anything")
    if not target.parent.is_dir():
        raise BackupExists(f"{target.parent} is no folder")
    temporary = target.with_name(f".{target.name}.tmp-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(mode=FOLDER_MODE)
        yield temporary
        for folder, _, files in os.walk(temporary, topdown=False):
            for name in files:
                _sync_file(Path(folder, name))
            sync_folder(Path(folder))
        # What appeared there in the meantime stays: this replaces an empty folder at most.
        temporary.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        place = error.filename or target
        raise BackupNotWritten(f"{target}: {error.strerror or error}, at {place}") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def taken_copy(folder: Path, work_directory: Path) -> Iterator[Path]:
    """A backup copied to where nobody else can exchange what was verified; removed at the end.

    Each file is opened once, and no symbolic link on the way to it is followed.

    Args:
        folder: the backup.
        work_directory: where to make a folder for its owner alone.

    Raises:
        BackupManifestMalformed: there is no manifest.
        BackupIncomplete: a file cannot be read, or is no regular one.
        BackupNotWritten: there is no room for the copy.
    """
    if not os.path.lexists(folder / MANIFEST):
        raise BackupManifestMalformed(f"{folder} holds no {MANIFEST}")
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=work_directory) as made:
        copy = Path(made)
        for name in _names(folder):
            _take(folder, name, copy / name)
        yield copy


def _take(folder: Path, name: str, target: Path) -> None:
    try:
        with _opened_below(folder, name) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
            chunks = iter(lambda: file.read(_CHUNK), b"")
            try:
                _write_chunks(target, chunks)
            except OSError as error:
                raise BackupNotWritten(f"{target}: {error.strerror}") from error
    except OSError as error:
        raise BackupIncomplete(f"{name} cannot be read: {error.strerror}") from error


def write_file(path: Path, data: bytes) -> None:
    """A new file for its owner alone, in a folder that is made as it must be."""
    _write_chunks(path, [data])


def _write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)


def record_files(folder: Path) -> tuple[FileRecord, ...]:
    """Every file in a folder that we have just written, by name."""
    return tuple(_record(folder, name) for name in _names(folder) if name != MANIFEST)


def read_manifest(folder: Path) -> bytes:
    """The manifest's bytes.

    Raises:
        BackupManifestMalformed: there is none that can be read.
    """
    try:
        with _opened(folder / MANIFEST) as descriptor:
            if os.fstat(descriptor).st_size > MAX_MANIFEST_BYTES:
                raise BackupManifestMalformed("the manifest is too long")
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(MAX_MANIFEST_BYTES + 1)
    except (OSError, BackupIncomplete) as error:
        raise BackupManifestMalformed(f"{folder} holds no readable {MANIFEST}") from error


def compare_files(folder: Path, expected: Sequence[FileRecord]) -> list[BackupError]:
    """What differs from the manifest: names, kinds, lengths, content."""
    found: list[BackupError] = []
    try:
        present = set(_names(folder)) - {MANIFEST}
    except BackupIncomplete as error:
        return [error]
    records = {record.name: record for record in expected}
    found += [BackupIncomplete(f"{name} is missing") for name in sorted(set(records) - present)]
    found += [
        BackupIncomplete(f"{name} is not in the manifest")
        for name in sorted(present - set(records))
    ]
    for name in sorted(present & set(records)):
        try:
            if _record(folder, name) != records[name]:
                found.append(BackupDamaged(f"{name} is not what the manifest states"))
        except BackupIncomplete as error:
            found.append(error)
    return found


def _names(folder: Path) -> list[str]:
    """The files below a folder, sorted; raises BackupIncomplete at what is neither."""
    names = []
    for place, folders, files in os.walk(folder):
        names += [Path(place, name).relative_to(folder).as_posix() for name in files]
        for name in folders:
            if Path(place, name).is_symlink():
                raise BackupIncomplete(f"{name} is a symbolic link")
    return sorted(names)


def _record(folder: Path, name: str) -> FileRecord:
    digest = hashlib.sha256()
    length = 0
    try:
        with _opened(folder / name) as descriptor:
            while chunk := os.read(descriptor, _CHUNK):
                digest.update(chunk)
                length += len(chunk)
    except OSError as error:
        raise BackupIncomplete(f"{name} cannot be read: {error.strerror}") from error
    return FileRecord(name, length, digest.hexdigest())


@contextmanager
def _opened_below(folder: Path, name: str) -> Iterator[int]:
    """As `_opened`, but no folder below the first one may be a symbolic link either."""
    *parents, last = Path(name).parts
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    with ExitStack() as stack:
        place = os.open(folder, flags)
        stack.callback(os.close, place)
        for parent in parents:
            place = os.open(parent, flags | os.O_NOFOLLOW, dir_fd=place)
            stack.callback(os.close, place)
        yield stack.enter_context(_opened(Path(last), place))


@contextmanager
def _opened(path: Path, place: int | None = None) -> Iterator[int]:
    """A regular file, opened for reading; raises BackupIncomplete for anything else."""
    # A pipe would keep whoever opens it waiting.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, dir_fd=place)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BackupIncomplete(f"{path.name} is no regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
