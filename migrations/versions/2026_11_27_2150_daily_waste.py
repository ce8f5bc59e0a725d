"""What the company paid for nothing, by day: the report reads this.

Revision ID: 0008
Revises: 0007
Create Date: 2026-11-27 21:50:00.000000+00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COUNT = """
insert into daily_waste as waste (day, team_id, model, currency, image_count, amount)
select (entries.at at time zone teams.timezone)::date, entries.team_id, jobs.model,
    entries.currency, {images}, {amount}
from {entries}
join jobs on jobs.id = entries.job_id
join teams on teams.id = entries.team_id
"""
KEEP = f"""
create function count_waste() returns trigger language plpgsql as $$
begin
    {COUNT.format(images="entries.image_count", amount="entries.amount", entries="(select new.*) as entries")}
    on conflict (day, team_id, model, currency) do update
    set image_count = waste.image_count + excluded.image_count,
        amount = waste.amount + excluded.amount;
    return null;
end
$$
"""
TRIGGER = """
create trigger count_new_waste after insert on ledger_entries for each row
when (new.kind = 'waste') execute function count_waste()
"""
EARLIER = f"""
{COUNT.format(images="sum(entries.image_count)", amount="sum(entries.amount)", entries="ledger_entries as entries")}
where entries.kind = 'waste' group by 1, 2, 3, 4
"""


def upgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.create_table(
        "daily_waste",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("team_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("image_count", sa.Integer(), nullable=False),
        sa.Column("amount", sa.Numeric(18, 6), nullable=False),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_daily_waste_team_id_teams")
        ),
        sa.PrimaryKeyConstraint(
            "day", "team_id", "model", "currency", name=op.f("pk_daily_waste")
        ),
    )
    op.execute(KEEP)
    op.execute(TRIGGER)
    op.execute(EARLIER)


def downgrade() -> None:
    op.execute("set local lock_timeout = '1s'")
    op.execute("drop trigger count_new_waste on ledger_entries")
    op.execute("drop function count_waste()")
    op.drop_table("daily_waste")
