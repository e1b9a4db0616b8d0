"""What can be wrong with an audit log."""

from signer.errors import SignerError


class AuditError(SignerError):
    """Root of this package's errors."""


class AuditEntryMalformed(AuditError):
    """The bytes are not an entry of an audit log."""


class AuditKeyUnknown(AuditError):
    """The log's folder pins no audit key."""


class AuditLogUsable(AuditError):
    """The log may go on as it is, or may not for a reason that a new generation would not mend."""


class AuditKeyMalformed(AuditError):
    """What the log's folder pins is not an audit key of this log."""
