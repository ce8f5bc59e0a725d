"""The task that each entry of waste is for: a task is booked once, and can be taken back.

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-27 22:40:00.000000+00:00
"""

from alembic import op

from app.kit.postgres.indexes import drop_indexes, make_indexes

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_ledger_entries_waste_task_id": "ledger_entries (upstream_task_id) where kind = 'waste'"
}
KEEP = """
create or replace function count_waste() returns trigger language plpgsql as $$
begin
    insert into daily_waste as waste (day, team_id, model, currency, image_count, amount)
    select (new.at at time zone teams.timezone)::date, new.team_id, jobs.model, new.currency,
        {sign} * new.image_count, {sign} * new.amount
    from jobs join teams on teams.id = new.team_id
    where jobs.id = new.job_id
    on conflict (day, team_id, model, currency) do update
    set image_count = waste.image_count + excluded.image_count,
        amount = waste.amount + excluded.amount;
    return null;
end
$$
"""
SIGN = "(case new.debit when 'waste' then 1 else -1 end)"


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("alter table ledger_entries add column if not exists upstream_task_id text")
    op.execute(KEEP.format(sign=SIGN))
    make_indexes(INDEXES)


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute(KEEP.format(sign="1"))
    drop_indexes(INDEXES)
    op.drop_column("ledger_entries", "upstream_task_id")
