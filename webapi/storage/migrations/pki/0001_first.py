"""Issued certificates, permits."""

import sqlalchemy as sa
from alembic import op

revision = "pki_0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "issued_certificates",
        sa.Column("ca", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=1024), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.CheckConstraint(
            "(state = 'good') = (since IS NULL)", name=op.f("ck_issued_certificates_since")
        ),
        sa.CheckConstraint(
            "(state = 'revoked') = (reason IS NOT NULL)", name=op.f("ck_issued_certificates_reason")
        ),
        sa.CheckConstraint(
            "state IN ('good', 'suspended', 'revoked')", name=op.f("ck_issued_certificates_state")
        ),
        sa.PrimaryKeyConstraint("ca", "serial", name=op.f("pk_issued_certificates")),
    )
    op.create_table(
        "permits",
        sa.Column("permit_id", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("spent_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("permit_id", name=op.f("pk_permits")),
        sqlite_with_rowid=False,
    )
