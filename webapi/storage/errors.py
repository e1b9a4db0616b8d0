"""Ways in which the database can be unusable before the first query."""


class StorageError(Exception):
    """Root of this package's errors."""


class DatabaseUrlUnsupported(StorageError):
    """The URL does not name a database that this version can keep its promises on."""


class DatabaseDirectoryUnsafe(StorageError):
    """The folder of the database is open to other users, or belongs to one."""


class DatabaseNotCurrent(StorageError):
    """The database lacks tables, or has tables of another version of the service."""
