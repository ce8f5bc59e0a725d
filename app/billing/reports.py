"""Usage and cost by team, day, model, key and metadata tag; each day in its team's time zone."""

import csv
import re
from dataclasses import asdict, astuple, dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TextIO
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.money import format_amount
from app.kit.errors import FieldProblem, InvalidRequest

DIMENSIONS = {"team": "teams.name", "day": "usage.day", "model": "usage.model", "key": "keys.name"}
TAG_PREFIX = "tag:"
GROUPS_LIMIT = 6
ROWS_LIMIT = 100_000

_TAG = re.compile(r"tag:.+", re.DOTALL)
_FORMULA = re.compile(r"[=+\-@\t\r\n]")

_JOBS = """(
  select (finished_at at time zone teams.timezone)::date as day, team_id, key_id, model, currency,
         metadata, 1 as jobs, (status = 'succeeded')::int as succeeded,
         (status = 'failed')::int as failed, (status = 'canceled')::int as canceled,
         (status = 'expired')::int as expired, image_count, amount
  from jobs join teams on teams.id = jobs.team_id
  where finished_at >= cast(:from_day as date) - interval '1 day'
    and finished_at < cast(:to_day as date) + interval '2 days'
)"""

_REPORT = """
select {dimensions}, sum(jobs), sum(succeeded), sum(failed), sum(canceled), sum(expired),
       sum(image_count), sum(amount), currency
from {source} as usage
join teams on teams.id = usage.team_id
join keys on keys.id = usage.key_id
where usage.day between :from_day and :to_day
  and (cast(:team_id as uuid) is null or usage.team_id = :team_id)
group by {positions}, currency
order by {positions}, currency
limit :limit
"""


# Days are those of the team whose job it was; no team is charged.
_WASTE = """
select sum(image_count) as image_count, sum(amount) as amount, currency from daily_waste
where day between :from_day and :to_day
  and (cast(:team_id as uuid) is null or team_id = :team_id)
group by currency order by currency
"""


@dataclass(frozen=True, slots=True)
class ReportQuery:
    """Both days are included; `group_by` names dimensions, or tags as `tag:NAME`."""

    from_day: date
    to_day: date
    group_by: tuple[str, ...] = ("team",)
    team_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """What ended, and what it cost."""

    jobs: int
    succeeded: int
    failed: int
    canceled: int
    expired: int
    image_count: int
    amount: Decimal
    currency: str


_SUMS = tuple(column.name for column in fields(Sums))


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One group and its sums; a job without the tag counts under None."""

    group: dict[str, str | None]
    sums: Sums

    def to_dict(self) -> dict[str, Any]:
        """As the outside sees it: money is text."""
        return {**self.group, **asdict(self.sums), "amount": format_amount(self.sums.amount)}


@dataclass(frozen=True, slots=True)
class Waste:
    """What the upstream billed and no team got: the company pays it."""

    image_count: int
    amount: Decimal
    currency: str

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "amount": format_amount(self.amount)}


@dataclass(frozen=True, slots=True)
class Report:
    """Rows ordered by their groups, as of one moment."""

    columns: tuple[str, ...]
    rows: tuple[ReportRow, ...]
    as_of: datetime
    waste: tuple[Waste, ...] = ()
    """Of those days, a line for each currency: with the rows it is the upstream's bill."""


def find_month(now: datetime, timezone: str) -> tuple[date, date]:
    """First day and today of the month that it is there: elsewhere it may be another day."""
    today = now.astimezone(ZoneInfo(timezone)).date()
    return today.replace(day=1), today


async def make_report(session: AsyncSession, query: ReportQuery) -> Report:
    """Sums per group and currency; raises InvalidRequest.

    Reads the daily usage, except for tags, which only the jobs know. Names of keys are a team's
    own, hence grouping by key groups by team as well.
    """
    groups = _to_groups(query)
    as_of = await session.scalar(text("select now()"))
    span = {"from_day": query.from_day, "to_day": query.to_day, "team_id": query.team_id}
    found = await session.execute(
        text(_to_sql(groups)), {**span, "limit": ROWS_LIMIT + 1, **_to_tags(groups)}
    )
    rows = tuple(_to_row(groups, tuple(row)) for row in found)
    if len(rows) > ROWS_LIMIT:
        raise InvalidRequest(
            f"the report has more than {ROWS_LIMIT:,} rows: ask for fewer days or groups"
        )
    wasted = await session.execute(text(_WASTE), span)
    waste = tuple(Waste(*row) for row in wasted)
    return Report((*groups, *_SUMS), rows, as_of, waste)


def to_totals(report: Report) -> tuple[Sums, ...]:
    """One sum over all rows for each currency."""
    totals: dict[str, Sums] = {}
    for row in report.rows:
        sums = row.sums
        before = totals.get(sums.currency)
        totals[sums.currency] = sums if before is None else _add(before, sums)
    return tuple(totals[currency] for currency in sorted(totals))


def write_csv(report: Report, stream: TextIO) -> None:
    """RFC 4180; a text that a spreadsheet would run as a formula gets an apostrophe in front."""
    writer = csv.writer(stream)
    writer.writerow(_defuse(column) for column in report.columns)
    for row in report.rows:
        cells = row.to_dict()
        writer.writerow(_defuse(cells[column]) for column in report.columns)


def _to_groups(query: ReportQuery) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(query.group_by))
    if "key" in groups and "team" not in groups:
        groups = ("team", *groups)
    problems = []
    if query.to_day < query.from_day:
        message = f"the last day {query.to_day} is before the first, {query.from_day}"
        problems.append(FieldProblem(("to",), "days_reversed", message))
    if not 1 <= len(groups) <= GROUPS_LIMIT:
        message = f"{len(groups)} groups are not between 1 and {GROUPS_LIMIT}"
        problems.append(FieldProblem(("group_by",), "out_of_range", message))
    for group in groups:
        if group not in DIMENSIONS and not _TAG.match(group):
            message = f"{group!r} is no group; there are {', '.join(DIMENSIONS)} and tag:NAME"
            problems.append(FieldProblem(("group_by",), "unknown_group", message))
    if problems:
        raise InvalidRequest.from_problems(tuple(problems))
    return groups


def _to_sql(groups: tuple[str, ...]) -> str:
    dimensions = (
        DIMENSIONS.get(group, f"usage.metadata ->> cast(:tag_{index} as text)")
        for index, group in enumerate(groups)
    )
    return _REPORT.format(
        dimensions=", ".join(dimensions),
        source=_JOBS if _to_tags(groups) else "daily_usage",
        positions=", ".join(str(index + 1) for index in range(len(groups))),
    )


def _to_tags(groups: tuple[str, ...]) -> dict[str, str]:
    return {
        f"tag_{index}": group.removeprefix(TAG_PREFIX)
        for index, group in enumerate(groups)
        if group not in DIMENSIONS
    }


def _to_row(groups: tuple[str, ...], row: tuple[Any, ...]) -> ReportRow:
    values = [None if value is None else str(value) for value in row[: len(groups)]]
    return ReportRow(dict(zip(groups, values, strict=True)), Sums(*row[len(groups) :]))


def _add(one: Sums, other: Sums) -> Sums:
    pairs = zip(astuple(one)[:-1], astuple(other)[:-1], strict=True)
    sums = (*(mine + more for mine, more in pairs), one.currency)
    return Sums(*sums)


def _defuse(cell: str | int | None) -> str | int | None:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell
