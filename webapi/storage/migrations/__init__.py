"""The versions of the realms' tables, and the environment that Alembic runs them in."""
