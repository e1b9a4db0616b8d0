"""Alembic's environment: runs the versions of one realm on the connection it is given."""

from alembic import context

from webapi.storage.schema import metadata_of

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata_of(context.config.attributes["realm"]),
)
with context.begin_transaction():
    context.run_migrations()
