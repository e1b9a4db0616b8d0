"""Ways in which the database can be unusable: before the first query, and in the midst of one."""


class StorageError(Exception):
    """Root of this package's errors."""


class DatabaseUrlUnsupported(StorageError):
    """The URL does not name a database that this version can keep its promises on."""


class DatabaseDirectoryUnsafe(StorageError):
    """The folder of the database is open to other users, or belongs to one."""


class DatabaseNotCurrent(StorageError):
    """The database lacks tables, or has tables of another version of the service."""


class DatabaseBusy(StorageError):
    """Other writers held the database for as long as we may wait; trying again helps."""


class DatabaseUnavailable(StorageError):
    """The database's file cannot be opened, read or written; the operator must see to it."""
