"""Answers about certificates on hold."""

import sqlalchemy as sa
from alembic import op

revision = "pki_0002"
down_revision = "pki_0001"


def upgrade() -> None:
    """Make the table of holds."""
    op.create_table(
        "answer_holds",
        sa.Column("hold_id", sa.String(length=32), nullable=False),
        sa.Column("restored_to", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("statement", sa.String(length=1000), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_answer_holds")),
    )
