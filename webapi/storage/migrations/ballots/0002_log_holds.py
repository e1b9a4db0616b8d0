"""Logs on hold."""

import sqlalchemy as sa
from alembic import op

revision = "ballots_0002"
down_revision = "ballots_0001"


def upgrade() -> None:
    """Make the table of holds."""
    op.create_table(
        "log_holds",
        sa.Column("hold_id", sa.String(length=32), nullable=False),
        sa.Column("election_id", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("since_slot", sa.BigInteger(), nullable=False),
        sa.Column("contradiction", sa.LargeBinary(), nullable=True),
        sa.Column("released_slot", sa.BigInteger(), nullable=True),
        sa.Column("statement", sa.String(length=1000), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_log_holds")),
    )
    op.create_index(op.f("ix_log_holds_election_id"), "log_holds", ["election_id"], unique=False)
