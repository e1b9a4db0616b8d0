"""What can be wrong with a backup, or with the place where it is to go."""


class BackupError(Exception):
    """Root of this package's errors."""


class BackupExists(BackupError):
    """There is something already where the backup is to be written."""


class BackupManifestMalformed(BackupError):
    """The manifest is missing, or not one in its one form."""


class BackupManifestOther(BackupError):
    """The manifest is not the one whose fingerprint was noted when the backup was made."""


class BackupIncomplete(BackupError):
    """A file is missing, there is one too many, or something is no regular file."""


class BackupDamaged(BackupError):
    """A file's content, or what a database says of itself, is not what the manifest states."""


class BackupVersionOther(BackupError):
    """The backup is of another version of the service, or of another kind of database."""


class ServiceRunning(BackupError):
    """A worker of the service runs; nothing may be restored beneath it."""


class BackupNotWritten(BackupError):
    """The disk refused a file or a folder."""


class BackupOriginOther(BackupError):
    """The backup is of another service."""
