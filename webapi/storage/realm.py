"""The three parts of the service's data, which nothing may ever join."""

from enum import StrEnum


class Realm(StrEnum):
    """A part of the data with a database, or a schema and roles, of its own.

    Who signed in and what was cast lie in different realms: no file, no schema and no database
    role holds both, so no query can put them side by side.
    """

    LOGIN = "login"
    BALLOTS = "ballots"
    PKI = "pki"
