"""Elections, registrations, logs, permits."""

import sqlalchemy as sa
from alembic import op

revision = "ballots_0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    _make_audit_tables()
    _make_permit_tables()
    _make_log_tables()
    op.create_table(
        "elections",
        sa.Column("election_id", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("close_request", sa.LargeBinary(), nullable=True),
        sa.Column("no_vote_root", sa.LargeBinary(length=32), nullable=True),
        sa.Column("no_vote_size", sa.BigInteger(), nullable=True),
        sa.Column("close_seq", sa.BigInteger(), nullable=True),
        sa.Column("published_size", sa.BigInteger(), nullable=False),
        sa.Column("published_epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("election_id", name=op.f("pk_elections")),
    )
    _make_registration_tables()


def _make_registration_tables() -> None:
    op.create_table(
        "registration_batches",
        sa.Column("election_id", sa.String(length=64), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["election_id"],
            ["elections.election_id"],
            name=op.f("fk_registration_batches_election_id_elections"),
        ),
        sa.PrimaryKeyConstraint(
            "election_id", "request_sha256", name=op.f("pk_registration_batches")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "registrations",
        sa.Column("election_id", sa.String(length=64), nullable=False),
        sa.Column("submission_id", sa.String(length=64), nullable=False),
        sa.Column("ballot_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("commitment", sa.LargeBinary(length=32), nullable=False),
        sa.Column("accepted_slot", sa.BigInteger(), nullable=False),
        sa.Column("sealed_salt", sa.LargeBinary(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=True),
        sa.Column("batch_sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("checkpoint_size", sa.BigInteger(), nullable=True),
        sa.Column("path", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "(evidence IS NULL) <> (batch_sha256 IS NULL)",
            name=op.f("ck_registrations_one_evidence"),
        ),
        sa.ForeignKeyConstraint(
            ["election_id"],
            ["elections.election_id"],
            name=op.f("fk_registrations_election_id_elections"),
        ),
        sa.ForeignKeyConstraint(
            ["election_id", "batch_sha256"],
            ["registration_batches.election_id", "registration_batches.request_sha256"],
            name=op.f("fk_registrations_election_id_registration_batches"),
        ),
        sa.PrimaryKeyConstraint("election_id", "submission_id", name=op.f("pk_registrations")),
        sa.UniqueConstraint("election_id", "seq", name=op.f("uq_registrations_election_id")),
        sqlite_with_rowid=False,
    )


def _make_log_tables() -> None:
    op.create_table(
        "log_checkpoints",
        sa.Column("election_id", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("previous_size", sa.BigInteger(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("election_id", "size", name=op.f("pk_log_checkpoints")),
        sa.UniqueConstraint(
            "election_id", "previous_size", name=op.f("uq_log_checkpoints_election_id")
        ),
    )
    op.create_table(
        "log_entries",
        sa.Column("election_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("election_id", "seq", name=op.f("pk_log_entries")),
    )
    op.create_table(
        "log_intents",
        sa.Column("election_id", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("previous_size", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("election_id", "size", name=op.f("pk_log_intents")),
        sa.UniqueConstraint(
            "election_id", "previous_size", name=op.f("uq_log_intents_election_id")
        ),
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
