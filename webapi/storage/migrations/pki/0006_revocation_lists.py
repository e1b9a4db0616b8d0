"""Certificate revocation lists, and how far each CA's are."""

import sqlalchemy as sa
from alembic import op

revision = "pki_0006"
down_revision = "pki_0005"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "crl_states",
        sa.Column("ca", sa.String(length=64), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.Column("listed_changes", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("taken_until", sa.BigInteger(), nullable=False),
        sa.Column("refresh_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ca", name=op.f("pk_crl_states")),
    )
    op.create_table(
        "crls",
        sa.Column("ca", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("base_number", sa.BigInteger(), nullable=False),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.Column("complete", sa.LargeBinary(), nullable=False),
        sa.Column("delta", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("ca", "number", name=op.f("pk_crls")),
    )
