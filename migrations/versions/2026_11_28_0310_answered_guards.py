"""A guard that was answered stays a minute: creates left by their client meet it.

Revision ID: 0010
Revises: 0009
Create Date: 2026-11-28 03:10:00.000000+00:00
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("alter table idempotency_keys add column if not exists answered_at timestamptz")


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("delete from idempotency_keys where answered_at is not null")
    op.drop_column("idempotency_keys", "answered_at")
