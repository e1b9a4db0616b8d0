"""Challenges, sessions, login evidence, permits."""

import sqlalchemy as sa
from alembic import op

revision = "login_0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _make_audit_tables()
    _make_permit_tables()
    _make_challenge_tables()
    _make_session_tables()


def _make_challenge_tables() -> None:
    op.create_table(
        "challenge_stock",
        sa.Column("nonce", sa.String(length=128), nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_challenge_stock")),
    )
    op.create_index(
        "ix_challenge_stock_origin_expires_at",
        "challenge_stock",
        ["origin", "expires_at"],
        unique=False,
    )
    op.create_table(
        "challenges",
        sa.Column("challenge_id", sa.String(length=32), nullable=False),
        sa.Column("nonce", sa.String(length=128), nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("browser_binding", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("challenge_id", name=op.f("pk_challenges")),
        sa.UniqueConstraint("nonce", name=op.f("uq_challenges_nonce")),
    )
    op.create_index(op.f("ix_challenges_expires_at"), "challenges", ["expires_at"], unique=False)


def _make_session_tables() -> None:
    op.create_table(
        "login_evidence",
        sa.Column("evidence_id", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("algorithm", sa.String(length=16), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("nonce", sa.String(length=128), nullable=False),
        sa.Column("certificates_pem", sa.Text(), nullable=False),
        sa.Column("ocsp_response", sa.LargeBinary(), nullable=False),
        sa.Column("ocsp_nonce_matched", sa.Boolean(), nullable=False),
        sa.Column("responder", sa.Text(), nullable=False),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("evidence_id", name=op.f("pk_login_evidence")),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("display_name", sa.String(length=255), nullable=False),
        sa.Column("acr", sa.String(length=255), nullable=False),
        sa.Column("amr", sa.String(length=255), nullable=False),
        sa.Column("certificate_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("evidence_id", sa.String(length=32), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evidence_id"],
            ["login_evidence.evidence_id"],
            name=op.f("fk_sessions_evidence_id_login_evidence"),
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_sessions")),
    )
    op.create_index(
        op.f("ix_sessions_certificate_sha256"), "sessions", ["certificate_sha256"], unique=False
    )
    op.create_index(op.f("ix_sessions_ends_at"), "sessions", ["ends_at"], unique=False)
    op.create_index(op.f("ix_sessions_used_at"), "sessions", ["used_at"], unique=False)


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
