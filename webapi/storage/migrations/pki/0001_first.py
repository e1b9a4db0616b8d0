"""Issued certificates, permits."""

import sqlalchemy as sa
from alembic import op

revision = "pki_0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _make_audit_tables()
    _make_permit_tables()
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


def _make_audit_tables() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("log_id", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("previous_size", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "size", name=op.f("pk_audit_checkpoints")),
        sa.UniqueConstraint("log_id", "previous_size", name=op.f("uq_audit_checkpoints_log_id")),
    )
    op.create_table(
        "audit_entries",
        sa.Column(
            "entry_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            nullable=False,
        ),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=True),
        sa.Column("of_seal", sa.Boolean(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_audit_entries")),
        sa.UniqueConstraint("seq", name=op.f("uq_audit_entries_seq")),
    )
    op.create_index("ix_audit_entries_waiting", "audit_entries", ["seq", "entry_id"])
    op.create_table(
        "audit_intents",
        sa.Column("log_id", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("previous_size", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "size", name=op.f("pk_audit_intents")),
        sa.UniqueConstraint("log_id", "previous_size", name=op.f("uq_audit_intents_log_id")),
    )


def _make_permit_tables() -> None:
    op.create_table(
        "permit_ranges",
        sa.Column("range_id", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.Column("root", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("range_id", name=op.f("pk_permit_ranges")),
        sqlite_with_rowid=False,
    )
