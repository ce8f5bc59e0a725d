"""Files: rows before their bytes, equal content of a team once.

Revision ID: 0005
Revises: 0004
Create Date: 2026-11-27 17:50:00+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("set local statement_timeout = '60s'")
    # Defaults are for the processes of before, whose rows come with their bytes.
    op.add_column("files", sa.Column("state", sa.Text(), server_default="kept", nullable=False))
    op.add_column(
        "files", sa.Column("is_shared", sa.Boolean(), server_default="false", nullable=False)
    )
    op.create_check_constraint(
        op.f("ck_files_state_known"), "files", "state in ('arriving', 'kept', 'leaving')"
    )
    op.create_index(
        "uq_files_content",
        "files",
        ["team_id", "sha256"],
        unique=True,
        postgresql_where=sa.text("is_shared and state <> 'leaving'"),
    )
    op.create_index("ix_files_store_key", "files", ["store_key"])
    op.create_index(
        "ix_files_leaving",
        "files",
        ["expires_at"],
        postgresql_where=sa.text("state = 'leaving'"),
    )


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.drop_index("ix_files_leaving", table_name="files")
    op.drop_index("ix_files_store_key", table_name="files")
    op.drop_index("uq_files_content", table_name="files")
    op.drop_constraint(op.f("ck_files_state_known"), "files")
    op.drop_column("files", "is_shared")
    op.drop_column("files", "state")
