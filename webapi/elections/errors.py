"""What the election and log routes refuse by themselves."""


class ElectionRouteError(Exception):
    """Root of this package's errors."""


class BearerMissing(ElectionRouteError):
    """The request carries no bearer token."""


class NotPublished(ElectionRouteError):
    """The public does not see this part of the log, or not yet."""
