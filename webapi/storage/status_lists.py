"""Fetched certificate revocation lists, each version once, and which login rested on which.

Nothing here is a verdict: `ocsp.crl` reads and judges the bytes at each use. A version that a
login rested on is kept as long as the login's evidence; others go when a newer one has come.
"""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    delete,
    select,
    update,
)
from sqlalchemy import insert as sql_insert
from sqlalchemy.dialects import postgresql, sqlite

from ocsp.crl.fetching import FetchedList
from ocsp.transport import KnownVersion
from webapi.storage.schema import LOGIN, runtime_may
from webapi.storage.sqlite import reading
from webapi.storage.times import from_unix, to_unix

status_lists = Table(
    "status_lists",
    LOGIN,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("der", LargeBinary, nullable=False),
    info=runtime_may(delete=True),
)

fetched_lists = Table(
    "fetched_lists",
    LOGIN,
    Column("url", Text, primary_key=True),
    Column("list_sha256", LargeBinary(32), ForeignKey("status_lists.sha256"), nullable=False),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("fetched_at", BigInteger, nullable=False),
    info=runtime_may(update=("list_sha256", "etag", "last_modified", "fetched_at"), delete=True),
)

login_lists = Table(
    "login_lists",
    LOGIN,
    Column("evidence_id", String(32), ForeignKey("login_evidence.evidence_id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("list_sha256", LargeBinary(32), ForeignKey("status_lists.sha256"), nullable=False),
    info=runtime_may(),
)

Insert = sqlite.Insert | postgresql.Insert


AUTHORITY_POSITION = 1_000
"""Positions from here on: lists of the CAs above the issuer."""


def insert_login_lists(
    connection: Connection,
    evidence_id: str,
    lists: Iterable[bytes],
    authority_lists: Iterable[bytes],
) -> None:
    """Write which lists a login rested on, within the caller's transaction."""
    numbered = (*enumerate(lists), *enumerate(authority_lists, AUTHORITY_POSITION))
    for position, der in numbered:
        digest = _keep_content(connection, der)
        connection.execute(
            sql_insert(login_lists).values(
                evidence_id=evidence_id, position=position, list_sha256=digest
            )
        )


def lists_of_login(
    connection: Connection, evidence_id: str
) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The lists that a login rested on, in the order of their use; then those of the CAs above."""
    query = (
        select(login_lists.c.position, status_lists.c.der)
        .join(login_lists, login_lists.c.list_sha256 == status_lists.c.sha256)
        .where(login_lists.c.evidence_id == evidence_id)
        .order_by(login_lists.c.position)
    )
    found = [(row.position, bytes(row.der)) for row in connection.execute(query)]
    return (
        tuple(der for position, der in found if position < AUTHORITY_POSITION),
        tuple(der for position, der in found if position >= AUTHORITY_POSITION),
    )


class SqlListStore:
    """`ocsp.crl.source.ListStore` and `ocsp.crl.fetching.FetchStore` on the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def current(self, url: str) -> bytes | None:
        """SHA-256 of the list that was fetched last from there."""
        query = select(fetched_lists.c.list_sha256).where(fetched_lists.c.url == url)
        with reading(self._engine).begin() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else bytes(found)

    def content(self, digest: bytes, /) -> bytes | None:
        """DER of a list; unverified."""
        query = select(status_lists.c.der).where(status_lists.c.sha256 == digest)
        with reading(self._engine).begin() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else bytes(found)

    def known(self, url: str) -> tuple[KnownVersion, datetime] | None:
        """What is there from that place, and when it was fetched."""
        with reading(self._engine).begin() as connection:
            row = connection.execute(
                select(fetched_lists).where(fetched_lists.c.url == url)
            ).one_or_none()
        if row is None:
            return None
        return KnownVersion(row.etag, row.last_modified), from_unix(row.fetched_at)

    def keep(self, fetched: FetchedList) -> None:
        """This is the list of that place from now on."""
        with self._engine.begin() as connection:
            values = {
                "list_sha256": _keep_content(connection, fetched.der),
                "etag": fetched.etag,
                "last_modified": fetched.last_modified,
                "fetched_at": to_unix(fetched.fetched_at),
            }
            connection.execute(
                _insert(connection, fetched_lists)
                .values(url=fetched.url, **values)
                .on_conflict_do_update(index_elements=[fetched_lists.c.url], set_=values)
            )

    def unchanged(self, url: str, *, at: datetime) -> None:
        """The list that is there is still the current one."""
        with self._engine.begin() as connection:
            connection.execute(
                update(fetched_lists)
                .where(fetched_lists.c.url == url)
                .values(fetched_at=to_unix(at))
            )

    def purge(self) -> int:
        """Remove the lists that are neither current nor any login's; returns how many."""
        in_use = select(fetched_lists.c.list_sha256).union(select(login_lists.c.list_sha256))
        with self._engine.begin() as connection:
            removed = delete(status_lists).where(status_lists.c.sha256.not_in(in_use))
            return connection.execute(removed).rowcount


def _keep_content(connection: Connection, der: bytes) -> bytes:
    digest = sha256(der).digest()
    # A look first: the list of megabytes need not be sent where it is already.
    there = select(status_lists.c.sha256).where(status_lists.c.sha256 == digest)
    if connection.execute(there).scalar_one_or_none() is None:
        connection.execute(
            _insert(connection, status_lists)
            .values(sha256=digest, der=der)
            .on_conflict_do_nothing()
        )
    return digest


def _insert(connection: Connection, table: Table) -> Insert:
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)
