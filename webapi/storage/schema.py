"""The collections that tables are declared on: one for each realm, and one for all of them."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import MetaData, Table

from webapi.storage.realm import Realm

_RUNTIME = "runtime"

_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names are fixed here so that a migration can address them on any engine."""

LOGIN = MetaData(naming_convention=_NAMES)
"""Challenges, sessions and the evidence of logins."""

BALLOTS = MetaData(naming_convention=_NAMES)
"""Elections, registered ballots and their logs; nothing that names a person."""

PKI = MetaData(naming_convention=_NAMES)
"""Certificates that our own CAs issued."""

EVERY_REALM = MetaData(naming_convention=_NAMES)
"""Tables of which each realm has one of its own."""

_OF_REALM = {Realm.LOGIN: LOGIN, Realm.BALLOTS: BALLOTS, Realm.PKI: PKI}


@dataclass(frozen=True, slots=True)
class RuntimeRights:
    """What the running service may do with a table on PostgreSQL, besides reading and inserting.

    Attributes:
        update: the columns that it may change; a locking clause asks for one, too.
        delete: whether it may remove rows.
    """

    update: tuple[str, ...] = ()
    delete: bool = False


def runtime_may(*, update: tuple[str, ...] = (), delete: bool = False) -> dict[str, Any]:
    """The `info` of a table; without arguments rows are only ever added and read.

    `Any` because SQLAlchemy types it so.
    """
    return {_RUNTIME: RuntimeRights(update, delete)}


def rights_on(table: Table) -> RuntimeRights:
    """What was declared with `runtime_may`; raises KeyError where nothing was."""
    rights: RuntimeRights = table.info[_RUNTIME]
    return rights


def metadata_of(realm: Realm) -> MetaData:
    """All tables of a realm, its copies of those in EVERY_REALM among them.

    Complete once `webapi.storage.tables` was imported, which `webapi.storage.engine` does.
    """
    metadata = _OF_REALM[realm]
    for table in EVERY_REALM.sorted_tables:
        if table.name not in metadata.tables:
            table.to_metadata(metadata)
    return metadata
