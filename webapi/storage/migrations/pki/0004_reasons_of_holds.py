"""Why answers are on hold: also a database that was put back by other means than ours."""

import sqlalchemy as sa
from alembic import op

revision = "pki_0004"
down_revision = "pki_0003"


def upgrade() -> None:
    """Make the table anew with a reason; the holds that are there are those of restores."""
    connection = op.get_bind()
    rows = connection.execute(sa.text("SELECT * FROM answer_holds")).mappings().all()
    op.drop_table("answer_holds")
    table = op.create_table(
        "answer_holds",
        sa.Column("hold_id", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("restored_to", sa.BigInteger(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("statement", sa.String(length=1000), nullable=True),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_answer_holds")),
    )
    if rows:
        op.bulk_insert(table, [{**row, "reason": "restored"} for row in rows])
