"""Many rows in one statement: a busy PostgreSQL has no time for a statement per row.

PostgreSQL is handed whole columns as arrays. SQLite is in the same process, where one statement
after the other costs little more.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    CursorResult,
    Executable,
    TableValuedAlias,
    bindparam,
    cast,
    column,
    func,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import NullType

Row = Mapping[str, Any]
"""Values by column name, of whatever types the columns have."""

_PREFIX = "the_"  # SQLAlchemy keeps the bare names of columns for itself


def given(name: str) -> BindParameter[Any]:
    """The value of a row's column, in the statement for SQLite."""
    return bindparam(_PREFIX + name)


def given_rows(*columns: Column[Any]) -> TableValuedAlias:
    """All rows as a table of these columns, in the statement for PostgreSQL."""
    # The driver gets the values as they are: typed, SQLAlchemy would have byte strings written as
    # text, each in an escaped form of twice its length.
    arrays = (
        cast(bindparam(_PREFIX + c.name, type_=NullType()), postgresql.ARRAY(c.type))
        for c in columns
    )
    named = (column(c.name, c.type) for c in columns)
    return func.unnest(*arrays).table_valued(*named).render_derived()


class ManyRows:
    """What is done with many rows.

    Args:
        each: the statement for one of them, with `given` values.
        at_once: the statement for all of them, with `given_rows`.
    """

    def __init__(self, *, each: Executable, at_once: Executable) -> None:
        self._each = each
        self._at_once = at_once

    def execute(
        self, connection: Connection, rows: Sequence[Row], common: Row
    ) -> CursorResult[Any]:
        """Do it.

        Args:
            connection: in a transaction.
            rows: at least one; all of the same columns.
            common: what is bound by both statements under its own name, the same for all rows.
        """
        if connection.dialect.name == "postgresql":
            names: Iterable[str] = rows[0]
            arrays = {_PREFIX + name: [row[name] for row in rows] for name in names}
            return connection.execute(self._at_once, {**common, **arrays})
        bound = [{_PREFIX + name: value for name, value in row.items()} for row in rows]
        return connection.execute(self._each, [{**common, **row} for row in bound])
