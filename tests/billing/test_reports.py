"""Reports: the sums that were asked for, in a stable order, safe to open anywhere."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.report_csv import write_csv
from app.billing.report_rows import Period, Report, ReportRow, Sums, to_totals
from app.billing.reports import ReportQuery, find_month, make_report
from app.billing.waste import book_waste
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.errors import InvalidRequest
from app.kit.postgres.database import (
    Pool,
    Sessions,
    make_engine,
    make_sessions,
    open_pool,
    transaction,
)
from tests.billing.books import Payer, accept_job, end_job, make_payer
from tests.databases import cloned_database
from tests.factories import MODEL, make_price

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
NEXT_NOON = datetime(2026, 11, 11, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Past:
    """What there is to report, and how to read it."""

    ads: Payer
    sessions: Sessions


@pytest.fixture(scope="module")
async def past(server_url: str, template: str, vault: Vault) -> AsyncIterator[Past]:
    """Three jobs of ads on two days, one of web, tagged and not; tests only read them."""
    async with cloned_database(server_url, template) as url:
        engine, pool = make_engine(url), await open_pool(url, max_size=2)
        sessions = make_sessions(engine)
        await make_price(sessions)
        ads = await make_payer(sessions, vault, name="ads")
        web = await make_payer(sessions, vault, name="web")
        jobs = [
            (ads, NOON, {"campaign": "spring"}, 2),
            (ads, NOON, {"campaign": "=1+1"}, 0),
            (ads, NEXT_NOON, {}, 1),
            (web, NOON, {"campaign": "spring"}, 1),
        ]
        for payer, at, metadata, image_count in jobs:
            job = await accept_job(pool, payer, n=2, metadata=metadata)
            status = "succeeded" if image_count else "failed"
            await end_job(pool, job, status=status, image_count=image_count, at=at)
        yield Past(ads, sessions)
        await pool.close()
        await engine.dispose()


@pytest.fixture
async def reader(past: Past) -> AsyncIterator[AsyncSession]:
    async with past.sessions() as session:
        yield session


async def _report(session: AsyncSession, *groups: str, **query: Any) -> list[dict[str, Any]]:
    asked = ReportQuery(FIRST, LAST, groups, **query)
    return [row.to_dict() for row in (await make_report(session, asked)).rows]


async def test_a_row_has_the_group_the_counts_and_exact_money(reader: AsyncSession) -> None:
    rows = await _report(reader, "team")

    assert rows[0] == {
        "team": "ads",
        "jobs": 3,
        "succeeded": 2,
        "failed": 1,
        "canceled": 0,
        "expired": 0,
        "image_count": 3,
        "unit_price": "0.20",
        "amount": "0.60",
        "currency": "CNY",
    }
    assert [row["team"] for row in rows] == ["ads", "web"]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (("day",), [("2026-11-10", 3), ("2026-11-11", 1)]),
        (("model",), [(MODEL, 4)]),
        (("key",), [("ads", "ci", 3), ("web", "ci", 1)]),
        (
            ("day", "team"),
            [("2026-11-10", "ads", 2), ("2026-11-10", "web", 1), ("2026-11-11", "ads", 1)],
        ),
        (("tag:campaign",), [("=1+1", 1), ("spring", 2), (None, 1)]),
        (
            ("team", "tag:campaign"),
            [("ads", "=1+1", 1), ("ads", "spring", 1), ("ads", None, 1), ("web", "spring", 1)],
        ),
        (("tag:absent",), [(None, 4)]),
        (("team", "team"), [("ads", 3), ("web", 1)]),
    ],
)
async def test_rows_are_grouped_and_ordered_as_asked(
    reader: AsyncSession, groups: tuple[str, ...], expected: list[tuple[Any, ...]]
) -> None:
    report = await make_report(reader, ReportQuery(FIRST, LAST, groups))

    assert [(*row.group.values(), row.sums.jobs) for row in report.rows] == expected


@pytest.mark.parametrize("groups", [("team",), ("team", "tag:campaign")])
async def test_both_days_are_included_and_others_are_not(
    reader: AsyncSession, groups: tuple[str, ...]
) -> None:
    for day, jobs in ((9, 0), (10, 3), (11, 1), (12, 0)):
        asked = ReportQuery(date(2026, 11, day), date(2026, 11, day), groups)
        assert sum(row.sums.jobs for row in (await make_report(reader, asked)).rows) == jobs


@pytest.mark.parametrize("groups", [("team",), ("team", "tag:campaign")])
async def test_one_team_can_be_asked_for(
    past: Past, reader: AsyncSession, groups: tuple[str, ...]
) -> None:
    rows = await _report(reader, *groups, team_id=past.ads.team_id)

    assert {row["team"] for row in rows} == {"ads"}


@pytest.mark.parametrize("group", ["team", "tag:any"])
async def test_a_day_is_the_teams_day(
    pool: Pool, sessions: Sessions, vault: Vault, group: str
) -> None:
    payer = await make_payer(sessions, vault, timezone="Asia/Shanghai")
    late = datetime(2026, 11, 9, 16, tzinfo=UTC)
    await end_job(pool, await accept_job(pool, payer), at=late)

    async with sessions() as session:
        rows = await _report(session, "day", group)

    assert [row["day"] for row in rows] == ["2026-11-10"]


async def test_currencies_are_never_added_up(pool: Pool, sessions: Sessions, vault: Vault) -> None:
    payer = await make_payer(sessions, vault)
    for currency in ("USD", "CNY", "CNY"):
        await end_job(pool, await accept_job(pool, payer, currency=currency), at=NOON)

    async with sessions() as session:
        report = await make_report(session, ReportQuery(FIRST, LAST))

    totals = [(sums.currency, sums.jobs, sums.amount) for sums in to_totals(report)]
    assert totals == [("CNY", 2, Decimal("0.40")), ("USD", 1, Decimal("0.20"))]


async def test_a_report_says_as_of_when(reader: AsyncSession) -> None:
    before = utc_now()

    report = await make_report(reader, ReportQuery(FIRST, LAST))

    assert before <= report.as_of <= utc_now()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (ReportQuery(LAST, FIRST), "days_reversed"),
        (ReportQuery(FIRST, LAST, ()), "out_of_range"),
        (ReportQuery(FIRST, LAST, tuple(f"tag:{number}" for number in range(7))), "out_of_range"),
        (ReportQuery(FIRST, LAST, ("teams",)), "unknown_group"),
        (ReportQuery(FIRST, LAST, ("tag:",)), "unknown_group"),
        (ReportQuery(FIRST, LAST, ("team; drop table jobs",)), "unknown_group"),
    ],
)
async def test_a_question_without_an_answer_is_refused(
    session: AsyncSession, query: ReportQuery, code: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await make_report(session, query)

    assert [problem.code for problem in refused.value.problems] == [code]


async def test_a_tag_name_is_never_run_as_sql(session: AsyncSession) -> None:
    assert await _report(session, "tag:x' || (select 1) --") == []


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＠SUM(A1)"]
)
def test_a_formula_does_not_run_in_a_spreadsheet(text: str) -> None:
    sums = Sums(1, 1, 0, 0, 0, 1, Decimal("0.2"), "CNY")
    period = Period(FIRST, LAST, ("UTC",), LAST)
    rows = (ReportRow({"tag:x": text}, sums),)
    stream = io.StringIO(newline="")

    write_csv(Report(("tag:x",), rows, period, utc_now()), stream)

    usage, total = csv.DictReader(io.StringIO(stream.getvalue(), newline=""))
    assert (usage["tag:x"], usage["amount"], usage["line"]) == (f"'{text}", "0.20", "usage")
    assert (total["tag:x"], total["total_amount"], total["line"]) == ("", "0.20", "total")


async def test_what_no_team_got_is_a_line_of_the_company(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    payer = await make_payer(sessions, vault, name="late")
    job = await accept_job(pool, payer, n=2)
    async with transaction(pool) as connection:
        for number, billed in enumerate((2, 0, 1)):
            await book_waste(connection, job.job_id, f"task-{number}", billed=billed)
    today = utc_now().date()
    day = timedelta(days=1)

    async with sessions() as session:
        inside = await make_report(session, ReportQuery(today - day, today + day))
        before = await make_report(session, ReportQuery(today - day * 9, today - day * 5))

    assert [waste.to_dict() for waste in inside.waste] == [
        {"image_count": 3, "amount": "0.60", "currency": "CNY"}
    ]
    assert before.waste == ()


@pytest.mark.parametrize(
    ("now", "month"),
    [
        ("2026-11-27T15:59:59+00:00", (date(2026, 11, 1), date(2026, 11, 27))),
        ("2026-11-27T16:00:00+00:00", (date(2026, 11, 1), date(2026, 11, 28))),
        ("2026-11-30T16:00:00+00:00", (date(2026, 12, 1), date(2026, 12, 1))),
    ],
)
def test_this_month_ends_on_the_day_that_it_is_in_the_teams_time_zone(
    now: str, month: tuple[date, date]
) -> None:
    assert find_month(datetime.fromisoformat(now), "Asia/Shanghai") == month
