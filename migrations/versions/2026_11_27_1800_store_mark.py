"""The store's id, and a count of failures in the background.

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-27 18:00:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("set local statement_timeout = '60s'")
    op.create_table(
        "picture_store",
        sa.Column("is_only", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("is_marked", sa.Boolean(), server_default="false", nullable=False),
        sa.Column(
            "registered_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("is_only", name=op.f("ck_picture_store_one_row")),
        sa.PrimaryKeyConstraint("is_only", name=op.f("pk_picture_store")),
    )
    op.execute("insert into picture_store default values")
    op.create_table(
        "chore_failures",
        sa.Column("work", sa.Text(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column(
            "last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("work", name=op.f("pk_chore_failures")),
    )


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.drop_table("chore_failures")
    op.drop_table("picture_store")
