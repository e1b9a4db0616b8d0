"""The collections that tables are declared on: one for each realm, and one for all of them."""

from sqlalchemy import MetaData

from webapi.storage.realm import Realm

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


def metadata_of(realm: Realm) -> MetaData:
    """All tables of a realm, its copies of those in EVERY_REALM among them.

    Complete once `webapi.storage.tables` was imported, which `webapi.storage.engine` does.
    """
    metadata = _OF_REALM[realm]
    for table in EVERY_REALM.sorted_tables:
        if table.name not in metadata.tables:
            table.to_metadata(metadata)
    return metadata
