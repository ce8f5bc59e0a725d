"""Proof of absence: when a list first showed no task of a create, and the tasks that must show.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-27 17:30:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '4s'")
    op.add_column("attempts", sa.Column("unlisted_at", sa.DateTime(timezone=True)))
    op.create_index(
        "ix_attempts_account_id_intended_at",
        "attempts",
        ["account_id", "intended_at"],
        postgresql_where=sa.text("outcome = 'accepted'"),
    )
    op.create_index(
        "ix_job_runs_running_submitted_at",
        "job_runs",
        ["submitted_at"],
        postgresql_where=sa.text("status = 'running'"),
    )


def downgrade() -> None:
    op.execute("set local lock_timeout = '4s'")
    op.drop_index("ix_job_runs_running_submitted_at", table_name="job_runs")
    op.drop_index("ix_attempts_account_id_intended_at", table_name="attempts")
    op.drop_column("attempts", "unlisted_at")
