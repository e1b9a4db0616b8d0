"""Answers signed beforehand, fenced by a revision of each certificate's record."""

import sqlalchemy as sa
from alembic import op

revision = "pki_0005"
down_revision = "pki_0004"


def upgrade() -> None:
    """Make the certificates' table anew with a revision, and the table of answers."""
    op.execute("CREATE TABLE certificates_before AS SELECT * FROM issued_certificates")
    op.drop_table("issued_certificates")
    op.create_table(
        "issued_certificates",
        sa.Column("ca", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=1024), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
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
    op.execute(
        "INSERT INTO issued_certificates"
        " (ca, serial, subject, not_after, state, since, reason, revision)"
        " SELECT ca, serial, subject, not_after, state, since, reason, 0 FROM certificates_before"
    )
    op.drop_table("certificates_before")
    op.create_table(
        "presigned_answers",
        sa.Column("ca", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("delegate", sa.LargeBinary(length=32), nullable=False),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.Column("refresh_at", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=True),
        sa.Column("sha1", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ca", "serial", name=op.f("pk_presigned_answers")),
    )
    op.create_index("ix_presigned_answers_refresh", "presigned_answers", ["ca", "refresh_at"])
