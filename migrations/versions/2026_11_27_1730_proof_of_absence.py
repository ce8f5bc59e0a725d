"""Proof of absence: when a list first showed no task of a create, and the tasks that must show.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-27 17:30:00.000000+00:00
"""

from alembic import op

from app.kit.postgres.indexes import drop_indexes, make_indexes

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_attempts_account_id_intended_at": (
        "attempts (account_id, intended_at) where outcome = 'accepted'"
    ),
    "ix_job_runs_running_submitted_at": "job_runs (submitted_at) where status = 'running'",
}


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("alter table attempts add column if not exists unlisted_at timestamptz")
    make_indexes(INDEXES)


def downgrade() -> None:
    drop_indexes(INDEXES)
    op.execute("set local lock_timeout = '1s'")
    op.execute("alter table attempts drop column if exists unlisted_at")
