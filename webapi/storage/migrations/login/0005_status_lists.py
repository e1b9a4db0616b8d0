"""Certificate revocation lists, and which login rested on which."""

import sqlalchemy as sa
from alembic import op

revision = "login_0005"
down_revision = "login_0004"


def upgrade() -> None:
    """Make the tables of lists, of where they are from, and of the logins that rested on them."""
    op.create_table(
        "status_lists",
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_status_lists")),
    )
    op.create_table(
        "fetched_lists",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("list_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("last_modified", sa.Text(), nullable=False),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["list_sha256"],
            ["status_lists.sha256"],
            name=op.f("fk_fetched_lists_list_sha256_status_lists"),
        ),
        sa.PrimaryKeyConstraint("url", name=op.f("pk_fetched_lists")),
    )
    op.create_table(
        "login_lists",
        sa.Column("evidence_id", sa.String(length=32), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("list_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["evidence_id"],
            ["login_evidence.evidence_id"],
            name=op.f("fk_login_lists_evidence_id_login_evidence"),
        ),
        sa.ForeignKeyConstraint(
            ["list_sha256"],
            ["status_lists.sha256"],
            name=op.f("fk_login_lists_list_sha256_status_lists"),
        ),
        sa.PrimaryKeyConstraint("evidence_id", "position", name=op.f("pk_login_lists")),
    )
