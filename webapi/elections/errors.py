"""What the election and log routes refuse by themselves."""


class ElectionRouteError(Exception):
    """Root of this package's errors."""


class BearerMissing(ElectionRouteError):
    """The request carries no bearer token."""


class LogOnHold(ElectionRouteError):
    """The log's database was put back: what it calls published may be less than the public saw."""


class NotPublished(ElectionRouteError):
    """The public does not see this part of the log, or not yet."""
