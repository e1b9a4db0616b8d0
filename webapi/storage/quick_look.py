"""One prepared SELECT on the driver's own connection, for what every request asks.

A look-up through SQLAlchemy costs several times what the database takes for it: a transaction is
begun, told of and ended for one statement that needs none.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, PoolProxiedConnection, Select

from webapi.storage import postgresql, sqlite

Row = tuple[Any, ...]
"""Columns of whatever types the statement selects."""


class _Pooled:
    """Connections of the engine's own pool, for databases whose answer takes longer than it."""

    def __init__(self, engine: Engine) -> None:
        self.take = engine.raw_connection

    def put_back(self, connection: PoolProxiedConnection) -> None:
        connection.close()

    def discard(self, connection: PoolProxiedConnection) -> None:
        connection.invalidate()


class QuickLook:
    """Finds one row; safe for threads.

    Args:
        engine: whose connections are used.
        statement: all its values are bound by name.
    """

    def __init__(self, engine: Engine, statement: Select[*tuple[Any, ...]]) -> None:
        compiled = statement.compile(dialect=engine.dialect)
        self._text = compiled.string
        self._places = compiled.positiontup
        self._driver_error = engine.dialect.loaded_dbapi.Error
        # One of two classes whose connections have no type in common.
        self._connections: Any = (
            sqlite.KeptReaders(engine) if engine.dialect.name == "sqlite" else _Pooled(engine)
        )

    def one(self, values: Mapping[str, object]) -> Row | None:
        """The first row, None if there is none.

        Raises:
            DatabaseBusy, DatabaseUnavailable: as of every statement.
        """
        # The driver takes values by place or by name, as its dialect has it.
        bound = values if self._places is None else [values[name] for name in self._places]
        try:
            connection = self._connections.take()
        except self._driver_error as error:
            raise _named(error) from error
        is_sound = False
        try:
            cursor = connection.cursor()
            try:
                cursor.execute(self._text, bound)
                row: Row | None = cursor.fetchone()
            finally:
                cursor.close()
            is_sound = True
        except self._driver_error as error:
            raise _named(error) from error
        finally:
            (self._connections.put_back if is_sound else self._connections.discard)(connection)
        return row


def _named(error: Exception) -> Exception:
    """The failure by its name; the driver's own error for a wrong statement."""
    return sqlite.failure_of(error) or postgresql.failure_of(error) or error
