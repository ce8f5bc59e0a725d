"""How often the upstream was called, by call and answer: metrics tell it.

Revision ID: 0012
Revises: 0011
Create Date: 2026-11-28 04:30:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "upstream_calls",
        sa.Column("call", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("call", "answer", name=op.f("pk_upstream_calls")),
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_table("upstream_calls")
