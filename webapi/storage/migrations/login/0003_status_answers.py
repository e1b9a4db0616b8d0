"""OCSP answers kept for all processes."""

import sqlalchemy as sa
from alembic import op

revision = "login_0003"
down_revision = "login_0002"


def upgrade() -> None:
    """Make the tables of kept answers and of who is asking."""
    op.create_table(
        "status_answers",
        sa.Column("certificate_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("certificate_der", sa.LargeBinary(), nullable=False),
        sa.Column("response_der", sa.LargeBinary(), nullable=False),
        sa.Column("responder_url", sa.Text(), nullable=False),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("produced_at", sa.BigInteger(), nullable=False),
        sa.Column("is_good", sa.Boolean(), nullable=False),
        sa.Column("refresh_at", sa.BigInteger(), nullable=False),
        sa.Column("useless_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("certificate_sha256", name=op.f("pk_status_answers")),
    )
    for column in ("refresh_at", "useless_at"):
        name = op.f(f"ix_status_answers_{column}")
        op.create_index(name, "status_answers", [column], unique=False)
    op.create_table(
        "status_claims",
        sa.Column("certificate_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("certificate_sha256", name=op.f("pk_status_claims")),
    )
    op.create_index(op.f("ix_status_claims_ends_at"), "status_claims", ["ends_at"], unique=False)
