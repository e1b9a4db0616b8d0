"""What can be wrong with an audit log."""

from signer.errors import SignerError


class AuditError(SignerError):
    """Root of this package's errors."""


class AuditEntryMalformed(AuditError):
    """The bytes are not an entry of an audit log."""


class AuditKeyUnknown(AuditError):
    """The log's folder pins no audit key."""


class AuditKeyMalformed(AuditError):
    """What the log's folder pins is not an audit key of this log."""
