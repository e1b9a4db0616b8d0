"""What this run used; PostgreSQL is among it once a server of it ran."""

import sqlite3
from importlib.metadata import version

versions = {
    "SQLite": sqlite3.sqlite_version,
    **{name: version(name) for name in ("SQLAlchemy", "alembic", "psycopg")},
}
