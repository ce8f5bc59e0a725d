"""A year of a hundred teams is reported within a second, and without a look at the jobs."""

import time
from collections.abc import AsyncIterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from app.billing.reports import ReportQuery, make_report
from app.kit.postgres.database import make_engine
from tests.databases import cloned_database
from tests.factories import MODEL

YEAR = (date(2026, 1, 1), date(2026, 12, 31))

_FILL = f"""
insert into prices (id, model, region, unit_price, currency, valid_from)
select gen_random_uuid(), '{MODEL}', 'cn-beijing', 0.1 * number, 'CNY',
  date '2024-01-01' + 90 * number
from generate_series(1, 10) as number;
insert into teams (id, name, cost_center)
select gen_random_uuid(), 'team-' || number, number % 10 from generate_series(1, 100) as number;
insert into keys (id, team_id, name, public_id, digest)
select gen_random_uuid(), teams.id, 'key-' || number, teams.name || number,
  sha256(convert_to(teams.name || number, 'UTF8'))
from teams, generate_series(1, 2) as number;
insert into daily_usage
  (day, team_id, key_id, model, currency, jobs, succeeded, image_count, amount)
select date '2026-01-01' + number, team_id, id, '{MODEL}', 'CNY', 10, 10, 10, 9
from keys, generate_series(0, 364) as number;
analyze;
"""


@pytest.fixture(scope="module")
async def year(server_url: str, template: str) -> AsyncIterator[AsyncEngine]:
    async with cloned_database(server_url, template) as url:
        engine = make_engine(url)
        async with engine.begin() as connection:
            for statement in filter(str.strip, _FILL.split(";")):
                await connection.exec_driver_sql(statement)
        yield engine
        await engine.dispose()


@pytest.fixture
async def connection(year: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with year.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("groups", "rows"),
    [
        (("team",), 100),
        (("cost_center", "month"), 120),
        (("team", "month"), 1200),
        (("day",), 365),
    ],
)
async def test_a_year_of_a_hundred_teams_takes_less_than_a_second(
    connection: AsyncConnection, groups: tuple[str, ...], rows: int
) -> None:
    """The better of three: whatever else the machine does is not the report's."""
    seconds = []
    async with AsyncSession(connection) as session:
        for _ in range(3):
            begun = time.monotonic()
            report = await make_report(session, ReportQuery(*YEAR, groups, None, True))
            seconds.append(time.monotonic() - begun)
            assert len(report.rows) == rows
            if seconds[-1] < 1:
                return

    raise AssertionError(seconds)


@pytest.mark.parametrize("groups", [("team",), ("key", "model", "cost_center", "day")])
async def test_only_what_the_jobs_alone_know_is_read_from_them(
    connection: AsyncConnection, groups: tuple[str, ...]
) -> None:
    plain = await _list_tables(connection, ReportQuery(*YEAR, groups, None, True))
    tagged = await _list_tables(connection, ReportQuery(*YEAR, (*groups, "tag:x"), None, True))

    assert "jobs" in tagged
    assert not {"jobs", "ledger_entries"} & plain
    assert {"daily_usage", "teams"} <= plain


async def _list_tables(connection: AsyncConnection, query: ReportQuery) -> set[str]:
    """What the plans of a report's statements read."""
    told: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        told.append((statement, values))

    event.listen(connection.sync_connection, "before_cursor_execute", note)
    async with AsyncSession(connection) as session:
        await make_report(session, query)
    event.remove(connection.sync_connection, "before_cursor_execute", note)
    names: set[str] = set()
    for statement, values in told:
        plan = await connection.exec_driver_sql(f"explain (format json) {statement}", values)
        names |= _find_names(plan.scalar_one())
    return names


def _find_names(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_find_names, node))
    if not isinstance(node, dict):
        return set()
    own = {node["Relation Name"]} if "Relation Name" in node else set()
    return own.union(*map(_find_names, node.values()))
