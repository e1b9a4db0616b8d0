"""Generations of the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "login_0002"
down_revision = "login_0001"


def upgrade() -> None:
    """Make the table of generations after the first."""
    op.create_table(
        "audit_generations",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("previous", sa.String(length=1024), nullable=False),
        sa.Column("known_size", sa.BigInteger(), nullable=False),
        sa.Column("known_root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("database_size", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=1000), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_generations")),
    )
