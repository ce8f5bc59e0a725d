"""Lists that cost a page: indexes in the order of a list, labels for metadata.

Revision ID: 0007
Revises: 0006
Create Date: 2026-11-27 18:10:00.000000+00:00
"""

from uuid import UUID

import sqlalchemy as sa
from alembic import op

from app.kit.postgres.indexes import drop_indexes, make_indexes

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BATCH = 20_000
LOWEST_ID = UUID(int=0)

INDEXES = {
    "ix_jobs_team_id_status_id": "jobs (team_id, status, id) where status is not null",
    "ix_jobs_team_id_model_id": "jobs (team_id, model, id)",
    "ix_jobs_key_id_id": "jobs (key_id, id desc)",
    "ix_job_runs_team_id_status_job_id": "job_runs (team_id, status, job_id)",
    "ix_job_runs_attention": "job_runs (job_id desc) where attention_code is not null",
    "ix_job_runs_team_expires_at": (
        "job_runs (model, team_id, expires_at) where status = 'queued'"
    ),
    "ix_idempotency_keys_job_id": "idempotency_keys (job_id)",
    "ix_ledger_entries_waste_job_id": "ledger_entries (job_id) where kind = 'waste'",
}
REPLACED = {"ix_job_runs_queued_expires_at": "job_runs (expires_at) where status = 'queued'"}

LABEL = (
    "encode(substring(sha256(convert_to(length(key) || ':' || key || value, 'UTF8')) for 16),"
    " 'hex')::uuid"
)

KEEP_LABELS = f"""
create or replace function keep_job_labels() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        delete from job_labels using jsonb_each_text(old.metadata)
        where team_id = old.team_id and label = {LABEL} and job_id = old.id;
    else
        insert into job_labels (team_id, label, job_id)
        select new.team_id, {LABEL}, new.id from jsonb_each_text(new.metadata)
        on conflict do nothing;
    end if;
    return null;
end
$$
"""
TRIGGERS = (
    "create or replace trigger label_new_job after insert on jobs for each row"
    " when (new.metadata <> '{}') execute function keep_job_labels()",
    "create or replace trigger unlabel_deleted_job after delete on jobs for each row"
    " when (old.metadata <> '{}') execute function keep_job_labels()",
)

LABEL_BATCH = f"""
with batch as materialized (
    select id, team_id, metadata from jobs where id > :last order by id limit {BATCH}
),
labeled as (
    insert into job_labels (team_id, label, job_id)
    select team_id, {LABEL}, id from batch cross join lateral jsonb_each_text(metadata)
    on conflict do nothing
)
select id from batch order by id desc limit 1
"""


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.create_table(
        "job_labels",
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("label", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("team_id", "label", "job_id", name=op.f("pk_job_labels")),
        if_not_exists=True,
    )
    op.execute(KEEP_LABELS)
    for trigger in TRIGGERS:
        op.execute(trigger)
    make_indexes(INDEXES)
    drop_indexes(REPLACED)
    with op.get_context().autocommit_block():
        _label_earlier_jobs()


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("drop trigger if exists label_new_job on jobs")
    op.execute("drop trigger if exists unlabel_deleted_job on jobs")
    op.execute("drop function if exists keep_job_labels()")
    op.execute("drop table if exists job_labels")
    make_indexes(REPLACED)
    drop_indexes(INDEXES)


def _label_earlier_jobs() -> None:
    """The trigger has labeled every job since its own commit; these are the ones before."""
    last: UUID | None = LOWEST_ID
    while last is not None:
        last = op.get_bind().scalar(
            sa.text(LABEL_BATCH).bindparams(sa.bindparam("last", type_=sa.Uuid())), {"last": last}
        )
