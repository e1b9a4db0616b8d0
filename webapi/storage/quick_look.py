"""One prepared SELECT on the driver's own connection, for what every request asks.

A look-up through SQLAlchemy costs several times what the database takes for it: a transaction is
begun, told of and ended for one statement that needs none.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, Select

from webapi.storage import postgresql, sqlite

Row = tuple[Any, ...]
"""Columns of whatever types the statement selects."""


class QuickLook:
    """Finds one row; safe for threads, through the engine's pool.

    Args:
        engine: whose connections are used.
        statement: all its values are bound by name.
    """

    def __init__(self, engine: Engine, statement: Select[*tuple[Any, ...]]) -> None:
        self._engine = engine
        compiled = statement.compile(dialect=engine.dialect)
        self._text = compiled.string
        self._places = compiled.positiontup
        self._driver_error = engine.dialect.loaded_dbapi.Error

    def one(self, values: Mapping[str, object]) -> Row | None:
        """The first row, None if there is none.

        Raises:
            DatabaseBusy, DatabaseUnavailable: as of every statement.
        """
        # The driver takes values by place or by name, as its dialect has it.
        bound = values if self._places is None else [values[name] for name in self._places]
        try:
            connection = self._engine.raw_connection()
        except self._driver_error as error:
            raise _named(error) from error
        try:
            cursor = connection.cursor()
            try:
                cursor.execute(self._text, bound)
                row: Row | None = cursor.fetchone()
                return row
            finally:
                cursor.close()
        except self._driver_error as error:
            connection.invalidate()
            raise _named(error) from error
        finally:
            connection.close()


def _named(error: Exception) -> Exception:
    """The failure by its name; the driver's own error for a wrong statement."""
    return sqlite.failure_of(error) or postgresql.failure_of(error) or error
