"""Groups of a report in which no job has ended: teams and months that stood still."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.report_groups import is_of_teams, to_columns, to_idle_groups
from app.billing.report_rows import ReportRow, Sums

_SPANS = """
select greatest(day, cast(:from_day as date)) as day,
  least((day + interval '1 {unit}')::date - 1, cast(:to_day as date)) as to_day
from (
  select generate_series(
    date_trunc('{unit}', cast(:from_day as date)::timestamp), cast(:to_day as date)::timestamp,
    interval '1 {unit}'
  )::date as day
) as begins
"""
_ONE_SPAN = "select cast(:from_day as date) as day, cast(:to_day as date) as to_day"

# All teams, also those that were made later, but for those that were disabled before.
_OF_TEAMS = """
join teams on (cast(:team_id as uuid) is null or teams.id = :team_id)
  and (teams.disabled_at is null
    or (teams.disabled_at at time zone teams.timezone)::date >= usage.day)
"""
_IDLE = """
select {columns}, {timezones} from ({spans}) as usage {teams}
group by {positions} limit :limit
"""

_CURRENCY = (
    "select currency from prices where valid_from <= now() order by valid_from desc limit 1"
)
_FIRST_CURRENCY = "CNY"


async def list_idle_rows(
    session: AsyncSession,
    groups: tuple[str, ...],
    found: Sequence[ReportRow],
    *,
    span: dict[str, date | UUID | None],
    limit: int,
) -> list[ReportRow]:
    """Rows of zeros for what has none among those that were found, in no order.

    Their currency is that of most rows, for there is no money to tell it by.
    """
    idle_groups = to_idle_groups(groups)
    there_are = await session.execute(text(_to_sql(idle_groups)), {**span, "limit": limit})
    busy = {tuple(row.group[group] for group in idle_groups) for row in found}
    currency = await _find_currency(session, found)
    rows = []
    for *values, timezones in there_are:
        known = _to_texts(values)
        if known not in busy:
            group = dict.fromkeys(groups) | dict(zip(idle_groups, known, strict=True))
            sums = Sums(0, 0, 0, 0, 0, 0, Decimal(0), currency)
            rows.append(ReportRow(group, sums, timezones=tuple(timezones or ())))
    return rows


def _to_sql(groups: tuple[str, ...]) -> str:
    units = [unit for unit in ("day", "month") if unit in groups]
    of_teams = is_of_teams(groups)
    return _IDLE.format(
        columns=to_columns(groups),
        timezones="array_agg(distinct teams.timezone)" if of_teams else "null",
        spans=_SPANS.format(unit=units[0]) if units else _ONE_SPAN,
        teams=_OF_TEAMS if of_teams else "",
        positions=", ".join(str(index + 1) for index in range(len(groups))),
    )


def _to_texts(values: list[Any]) -> tuple[str | None, ...]:
    return tuple(None if value is None else str(value) for value in values)


async def _find_currency(session: AsyncSession, found: Sequence[ReportRow]) -> str:
    currencies = [row.sums.currency for row in found]
    if currencies:
        return max(sorted(set(currencies)), key=currencies.count)
    current: str | None = await session.scalar(text(_CURRENCY))
    return current or _FIRST_CURRENCY
