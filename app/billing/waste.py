"""Waste: what the upstream billed and no team got. The company pays it, task by task."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from app.billing.ledger import COMPANY, WASTE
from app.kit.postgres.database import Connection

DRIFTS_LIMIT = 100

IMAGES = f"(case debit when '{WASTE}' then image_count else -image_count end)"
"""Of an entry of waste: what was taken back counts less."""
AMOUNT = f"(case debit when '{WASTE}' then amount else -amount end)"


@dataclass(frozen=True, slots=True)
class WasteDrift:
    """A day whose waste is not that of the ledger: images in the daily waste, and in the book."""

    day: date
    team_id: UUID
    model: str
    currency: str
    recorded: int
    actual: int


_LOCK_TASK = "select pg_advisory_xact_lock(hashtextextended('waste:' || $1, 0))"

_BOOK = f"""
insert into ledger_entries
  (job_id, team_id, kind, debit, credit, amount, currency, image_count, at, upstream_task_id)
select id, team_id, '{WASTE}', '{WASTE}', '{COMPANY}', unit_price * more, currency, more, now(), $2
from jobs, (
  select $3::int - coalesce(sum{IMAGES}, 0)::int as more from ledger_entries
  where kind = '{WASTE}' and upstream_task_id = $2
) as booked
where id = $1 and more > 0 and ($4 or not exists (
  select from attempts as owners where owners.upstream_task_id = $2
    and coalesce(owners.error_code, '') not in ('given_up', 'task_lost')
))
"""

_TAKE_BACK = f"""
insert into ledger_entries
  (job_id, team_id, kind, debit, credit, amount, currency, image_count, at, upstream_task_id)
select job_id, team_id, '{WASTE}', '{COMPANY}', '{WASTE}',
  sum{AMOUNT}, currency, sum{IMAGES}, now(), $1
from ledger_entries
where kind = '{WASTE}' and upstream_task_id = $1 and job_id is distinct from $2
group by job_id, team_id, currency having sum{IMAGES} > 0
"""

_FIND_DRIFT = f"""
with counted as (
  select (entries.at at time zone teams.timezone)::date as day, entries.team_id, jobs.model,
         entries.currency, sum(net_images) as image_count,
         sum(net_amount) as amount
  from (
    select job_id, team_id, currency, at, {IMAGES} as net_images, {AMOUNT} as net_amount
    from ledger_entries where kind = '{WASTE}'
  ) as entries
  join jobs on jobs.id = entries.job_id
  join teams on teams.id = entries.team_id
  group by 1, 2, 3, 4
)
select day, team_id, model, currency, coalesce(daily_waste.image_count, 0)::int as recorded,
       coalesce(counted.image_count, 0)::int as actual
from daily_waste full join counted using (day, team_id, model, currency)
where (coalesce(daily_waste.image_count, 0), coalesce(daily_waste.amount, 0))
      is distinct from (coalesce(counted.image_count, 0), coalesce(counted.amount, 0))
order by day, team_id, model, currency limit {DRIFTS_LIMIT}
"""


def count_waste(billed: int | None, delivered: int) -> int:
    """Images of a task that no team got; a bill that was not told (None) has none yet (pure)."""
    return max((billed or 0) - delivered, 0)


async def book_waste(
    connection: Connection,
    job_id: UUID,
    task_id: str,
    *,
    billed: int | None,
    delivered: int = 0,
    is_own: bool = False,
) -> None:
    """Put down what a task was billed for and no team got, at its job's price.

    The book remembers the task: whoever books it again, or beside another, adds only what is
    missing. A task of an attempt that counts on it is its own to book, and nobody else's.
    """
    image_count = count_waste(billed, delivered)
    if image_count:
        await connection.execute(_LOCK_TASK, task_id)
        await connection.execute(_BOOK, job_id, task_id, image_count, is_own)


async def take_back_waste(
    connection: Connection, task_id: str, *, but_of: UUID | None = None
) -> None:
    """Undo, by entries the other way, the waste of a task that turns out to be another job's.

    What the job `but_of` has booked stays. Whoever takes a task calls this after having written
    so: under the lock, a booking either sees that or is seen here.
    """
    await connection.execute(_LOCK_TASK, task_id)
    await connection.execute(_TAKE_BACK, task_id, but_of)


async def find_waste_drift(connection: Connection) -> list[WasteDrift]:
    """Days that differ from the ledger, the oldest first, at most DRIFTS_LIMIT."""
    return [WasteDrift(**row) for row in await connection.fetch(_FIND_DRIFT)]
