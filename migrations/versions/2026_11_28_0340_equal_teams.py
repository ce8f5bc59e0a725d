"""When each team was served last: teams that stand equal go round in turn.

Revision ID: 0011
Revises: 0010
Create Date: 2026-11-28 03:40:00.000000+00:00
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("alter table team_queues add column if not exists served_at timestamptz")


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.drop_column("team_queues", "served_at")
