"""Daily usage: what ended, by team, key and model, on the days of the team's time zone."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import NotRequired, TypedDict, Unpack
from uuid import UUID

from app.kit.postgres.database import Connection

DRIFTS_LIMIT = 100


class EndedJob(TypedDict):
    """A job at its end, as usage counts it; or several alike, with their sums."""

    team_id: UUID
    key_id: UUID
    model: str
    currency: str
    status: str
    image_count: int
    amount: Decimal
    at: datetime
    jobs: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Drift:
    """A day whose sums are not those of its jobs."""

    day: date
    team_id: UUID
    key_id: UUID
    model: str
    currency: str
    recorded: tuple[int, int, Decimal]
    """Jobs, images and amount in the daily usage."""
    actual: tuple[int, int, Decimal]
    """The same, counted over the jobs."""


_ADD = """
insert into daily_usage as usage
  (day, team_id, key_id, model, currency, jobs, succeeded, failed, canceled, expired,
   image_count, amount)
select ($8::timestamptz at time zone teams.timezone)::date, teams.id, $2, $3, $4, $9::int,
       $9 * ($5 = 'succeeded')::int, $9 * ($5 = 'failed')::int, $9 * ($5 = 'canceled')::int,
       $9 * ($5 = 'expired')::int, $6::int, $7::numeric
from teams where teams.id = $1
on conflict (day, team_id, key_id, model, currency) do update
set jobs = usage.jobs + excluded.jobs,
    succeeded = usage.succeeded + excluded.succeeded,
    failed = usage.failed + excluded.failed,
    canceled = usage.canceled + excluded.canceled,
    expired = usage.expired + excluded.expired,
    image_count = usage.image_count + excluded.image_count,
    amount = usage.amount + excluded.amount
"""

_COUNTS = ("jobs", "succeeded", "failed", "canceled", "expired", "image_count", "amount")

_FIND_DRIFT = f"""
with counted as (
  select (finished_at at time zone teams.timezone)::date as day, team_id, key_id, model, currency,
         count(*) as jobs,
         count(*) filter (where status = 'succeeded') as succeeded,
         count(*) filter (where status = 'failed') as failed,
         count(*) filter (where status = 'canceled') as canceled,
         count(*) filter (where status = 'expired') as expired,
         sum(image_count) as image_count, sum(amount) as amount
  from jobs join teams on teams.id = jobs.team_id
  where status is not null
  group by 1, 2, 3, 4, 5
)
select day, team_id, key_id, model, currency,
       coalesce(daily_usage.jobs, 0) as recorded_jobs,
       coalesce(daily_usage.image_count, 0) as recorded_images,
       coalesce(daily_usage.amount, 0) as recorded_amount,
       coalesce(counted.jobs, 0) as jobs,
       coalesce(counted.image_count, 0) as images,
       coalesce(counted.amount, 0) as amount
from daily_usage full join counted using (day, team_id, key_id, model, currency)
where ({", ".join(f"daily_usage.{name}" for name in _COUNTS)})
      is distinct from ({", ".join(f"counted.{name}" for name in _COUNTS)})
order by day, team_id, key_id, model, currency limit {DRIFTS_LIMIT}
"""


async def add_usage(connection: Connection, **ended: Unpack[EndedJob]) -> None:
    """Count one job on its team's day, in the transaction of its final status."""
    await connection.execute(
        _ADD,
        ended["team_id"],
        ended["key_id"],
        ended["model"],
        ended["currency"],
        ended["status"],
        ended["image_count"],
        ended["amount"],
        ended["at"],
        ended.get("jobs", 1),
    )


async def find_drift(connection: Connection) -> list[Drift]:
    """Days that differ from their jobs, the oldest first, at most DRIFTS_LIMIT."""
    rows = await connection.fetch(_FIND_DRIFT)
    return [
        Drift(
            row["day"],
            row["team_id"],
            row["key_id"],
            row["model"],
            row["currency"],
            recorded=(row["recorded_jobs"], row["recorded_images"], row["recorded_amount"]),
            actual=(row["jobs"], row["images"], row["amount"]),
        )
        for row in rows
    ]
