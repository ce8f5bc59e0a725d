"""Evidence against accounts, room below the limit, and queued jobs that a person must look at.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-27 17:40:11.402751+00:00
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("set local statement_timeout = '60s'")
    op.create_table(
        "account_suspicions",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("suspects", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("passed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id", "model"],
            ["account_paces.account_id", "account_paces.model"],
            name=op.f("fk_account_suspicions_account_id_account_paces"),
        ),
        sa.PrimaryKeyConstraint("account_id", "model", name=op.f("pk_account_suspicions")),
    )
    op.drop_constraint(
        op.f("ck_account_paces_priming_not_negative"), "account_paces", type_="check"
    )


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("update account_paces set priming = 0 where priming < 0")
    op.create_check_constraint(
        op.f("ck_account_paces_priming_not_negative"), "account_paces", "priming >= 0"
    )
    op.drop_table("account_suspicions")
