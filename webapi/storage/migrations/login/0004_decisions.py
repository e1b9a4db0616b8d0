"""What each login's decision rested on."""

import sqlalchemy as sa
from alembic import op

revision = "login_0004"
down_revision = "login_0003"


def upgrade() -> None:
    """Make the tables of decisions and of the rules that they were made by."""
    op.create_table(
        "decision_rules",
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("rules", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_decision_rules")),
    )
    op.create_table(
        "login_decisions",
        sa.Column("evidence_id", sa.String(length=32), nullable=False),
        sa.Column("rules_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("ocsp_request", sa.LargeBinary(), nullable=True),
        sa.Column("responder_url", sa.Text(), nullable=False),
        sa.Column("from_cache", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["evidence_id"],
            ["login_evidence.evidence_id"],
            name=op.f("fk_login_decisions_evidence_id_login_evidence"),
        ),
        sa.ForeignKeyConstraint(
            ["rules_sha256"],
            ["decision_rules.sha256"],
            name=op.f("fk_login_decisions_rules_sha256_decision_rules"),
        ),
        sa.PrimaryKeyConstraint("evidence_id", name=op.f("pk_login_decisions")),
    )
