"""Usage and cost by team, cost centre, month, day, model, key, price and metadata tag.

Each job counts on the day on which it ended, in its team's time zone, at the price of its
acceptance.
"""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.idle import list_idle_rows
from app.billing.money import format_amount
from app.billing.report_groups import (
    find_group_problems,
    needs_jobs,
    to_columns,
    to_groups,
    to_tags,
)
from app.billing.report_rows import Period, Report, ReportRow, Sums, Waste
from app.kit.errors import FieldProblem, InvalidRequest

ROWS_LIMIT = 100_000

# The margins are for all time zones; the day itself is compared below.
_JOBS = """
  select (finished_at at time zone teams.timezone)::date as day, team_id, key_id, model, currency,
         metadata, unit_price, case when image_count > 0 then unit_price end as price,
         1 as jobs, (status = 'succeeded')::int as succeeded,
         (status = 'failed')::int as failed, (status = 'canceled')::int as canceled,
         (status = 'expired')::int as expired, image_count, amount
  from teams join jobs on jobs.team_id = teams.id
    and finished_at >= (cast(:from_day as date) - interval '1 day') at time zone 'UTC'
    and finished_at < (cast(:to_day as date) + interval '2 days') at time zone 'UTC'
"""

# The daily usage has sums and no price. Where they are a price of that time, times the images,
# it is the price of them all; where two prices meet on a day they are not.
_DAYS = """
  select day, team_id, key_id, model, currency, jobs, succeeded, failed, canceled, expired,
         image_count, amount, (
    select begun.unit_price from begun
    where begun.model = daily_usage.model and begun.currency = daily_usage.currency
      and begun.unit_price * daily_usage.image_count = daily_usage.amount
      and daily_usage.image_count > 0
      and begun.valid_from < daily_usage.day + 2 and begun.valid_to > daily_usage.day - 30
    limit 1
  ) as price
  from daily_usage
"""

_REPORT = """
with begun as materialized (
  select model, currency, unit_price, valid_from, lead(valid_from, 1, 'infinity'::timestamptz)
    over (partition by model, region order by valid_from) as valid_to
  from prices
)
select {columns}, sum(jobs), sum(succeeded), sum(failed), sum(canceled), sum(expired),
       sum(image_count), sum(amount), currency,
       case when min(price) = max(price) and bool_and(image_count = 0 or price is not null)
         then min(price) end,
       array_agg(distinct teams.timezone)
from ({source}) as usage
join teams on teams.id = usage.team_id
join keys on keys.id = usage.key_id
where usage.day between :from_day and :to_day
  and (cast(:team_id as uuid) is null or usage.team_id = :team_id)
group by {positions}, currency
limit :limit
"""


# Days are those of the team whose job it was; no team is charged.
_WASTE = """
select sum(image_count) as image_count, sum(amount) as amount, currency from daily_waste
where day between :from_day and :to_day
  and (cast(:team_id as uuid) is null or team_id = :team_id)
group by currency order by currency
"""

_ZONES = """
select now(), coalesce(min((now() at time zone timezone)::date), (now() at time zone 'UTC')::date),
  array_agg(distinct timezone) filter (where timezone is not null)
from teams where cast(:team_id as uuid) is null or id = :team_id
"""


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """Both days are included; `group_by` names dimensions, or tags as `tag:NAME`."""

    from_day: date
    to_day: date
    group_by: tuple[str, ...] = ("team",)
    team_id: UUID | None = None
    with_idle: bool = False
    """Whether teams, cost centres, months and days without jobs are rows too."""


def find_month(now: datetime, timezone: str) -> tuple[date, date]:
    """First day and today of the month that it is there: elsewhere it may be another day."""
    today = now.astimezone(ZoneInfo(timezone)).date()
    return today.replace(day=1), today


async def make_report(session: AsyncSession, query: ReportQuery) -> Report:
    """Sums per group and currency; raises InvalidRequest.

    Reads the daily usage, except for tags and prices, which only the jobs know.
    """
    groups = to_groups(query.group_by)
    _check(query, groups)
    span = {"from_day": query.from_day, "to_day": query.to_day, "team_id": query.team_id}
    as_of, today, timezones = (await session.execute(text(_ZONES), span)).one()
    bounded = {**span, "limit": ROWS_LIMIT + 1}
    found = await session.execute(text(_to_sql(groups)), {**bounded, **to_tags(groups)})
    rows = [_to_row(groups, tuple(row)) for row in found]
    busy_zones = sorted({zone for row in rows for zone in row.timezones})
    if query.with_idle:
        rows += await list_idle_rows(session, groups, rows, span=span, limit=ROWS_LIMIT + 1)
    if len(rows) > ROWS_LIMIT:
        raise InvalidRequest(
            f"the report has more than {ROWS_LIMIT:,} rows: ask for fewer days or groups"
        )
    wasted = await session.execute(text(_WASTE), span)
    waste = tuple(Waste(*row) for row in wasted)
    period = Period(query.from_day, query.to_day, tuple(busy_zones or timezones or ()), today)
    return Report(groups, tuple(sorted(rows, key=_to_place)), period, as_of, waste)


def _check(query: ReportQuery, groups: tuple[str, ...]) -> None:
    problems = find_group_problems(groups, with_idle=query.with_idle)
    if query.to_day < query.from_day:
        message = f"the last day {query.to_day} is before the first, {query.from_day}"
        problems.insert(0, FieldProblem(("to",), "days_reversed", message))
    if problems:
        raise InvalidRequest.from_problems(tuple(problems))


def _to_sql(groups: tuple[str, ...]) -> str:
    return _REPORT.format(
        columns=to_columns(groups),
        source=_JOBS if needs_jobs(groups) else _DAYS,
        positions=", ".join(str(index + 1) for index in range(len(groups))),
    )


def _to_row(groups: tuple[str, ...], row: tuple[Any, ...]) -> ReportRow:
    *sums, unit_price, timezones = row[len(groups) :]
    values = map(_to_text, row[: len(groups)])
    return ReportRow(
        dict(zip(groups, values, strict=True)), Sums(*sums), unit_price, tuple(sorted(timezones))
    )


def _to_text(value: object) -> str | None:
    match value:
        case None:
            return None
        case Decimal():
            return format_amount(value)
        case _:
            return str(value)


def _to_place(row: ReportRow) -> tuple[object, ...]:
    """By the groups, as they were asked for; what is missing comes last."""
    places = (
        (value is None, Decimal(value or 0) if group == "unit_price" else value or "")
        for group, value in row.group.items()
    )
    return (*places, row.sums.currency)
