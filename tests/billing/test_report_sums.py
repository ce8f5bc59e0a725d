"""Rows, totals and the ledger agree to the last decimal, however a report is cut."""

import csv
import io
import itertools
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.billing.report_csv import write_csv
from app.billing.report_rows import Report, to_totals
from app.billing.reports import ReportQuery, make_report
from app.billing.waste import book_waste
from app.kit.crypto import Vault
from app.kit.postgres.database import Sessions, make_engine, make_sessions, open_pool, transaction
from tests.billing.books import Payer, accept_job, end_job, make_payer
from tests.databases import cloned_database
from tests.factories import make_price

JOBS = 90
BEGIN = datetime(2026, 10, 25, 12, tzinfo=UTC)
ZONES = ("Asia/Shanghai", "America/New_York", "UTC", "Europe/Berlin")
CENTRES = ("4711", "4711", "=cmd()", None)
PRICES = (("0.20", "CNY"), ("0.220177", "CNY"), ("0.033333", "USD"))
TAGS: tuple[dict[str, str], ...] = ({}, {"x": ""}, {"x": "spring"}, {"x": "=1"}, {"y": "spring"})

_BOOKED = """
select currency, sum(amount), sum(image_count) from ledger_entries
join teams on teams.id = ledger_entries.team_id
where kind = :kind and (at at time zone timezone)::date between :from_day and :to_day
group by currency having sum(image_count) > 0
"""

Amounts = dict[str, tuple[Decimal, int]]


@pytest.fixture(scope="module")
async def books(server_url: str, template: str, vault: Vault) -> AsyncIterator[Sessions]:
    """Jobs at random hours of two weeks that hold the end of a month, in four zones."""
    dice = random.Random(2026)
    async with cloned_database(server_url, template) as url:
        engine, pool = make_engine(url), await open_pool(url, max_size=2)
        sessions = make_sessions(engine)
        for amount, currency in PRICES:
            begin = BEGIN - timedelta(days=9)
            await make_price(
                sessions, amount=amount, currency=currency, valid_from=begin, region=amount
            )
        payers: list[Payer] = [
            await make_payer(sessions, vault, timezone=zone, cost_center=centre)
            for zone, centre in zip(ZONES, CENTRES, strict=True)
        ]
        for number in range(JOBS):
            price, currency = dice.choice(PRICES)
            job = await accept_job(
                pool,
                dice.choice(payers),
                n=4,
                unit_price=price,
                currency=currency,
                metadata=dice.choice(TAGS),
            )
            images = dice.randint(0, 4)
            at = BEGIN + timedelta(minutes=dice.randint(0, 14 * 1440))
            status = "succeeded" if images else dice.choice(["failed", "canceled", "expired"])
            await end_job(pool, job, status=status, image_count=images, at=at)
            if number % 5 == 0:
                async with transaction(pool) as connection:
                    await book_waste(connection, job.job_id, f"task-{number}", billed=5)
        yield sessions
        await pool.close()
        await engine.dispose()


@pytest.fixture
async def session(books: Sessions) -> AsyncIterator[AsyncSession]:
    async with books() as session:
        yield session


GROUPINGS = [
    *itertools.combinations(("team", "cost_center", "month", "day", "tag:x"), 2),
    *((group,) for group in ("team", "month", "model", "key", "unit_price", "tag:x")),
    ("team", "cost_center", "month", "day", "key", "tag:x"),
]
SPANS = [
    (date(2026, 10, 1), date(2026, 11, 30)),
    (date(2026, 10, 31), date(2026, 10, 31)),
    (date(2026, 11, 1), date(2026, 11, 4)),
]


@pytest.mark.parametrize("groups", GROUPINGS, ids=",".join)
async def test_rows_totals_and_ledger_agree(
    session: AsyncSession, groups: tuple[str, ...]
) -> None:
    can_idle = any(group in ("team", "key", "cost_center", "month", "day") for group in groups)
    for (first, last), with_idle in itertools.product(SPANS, {False, can_idle}):
        report = await make_report(session, ReportQuery(first, last, groups, None, with_idle))

        booked = await _fetch_booked(session, "capture", first, last)
        assert _sum_rows(report) == booked
        assert _sum_csv(report) == booked
        totals = to_totals(report)
        assert {
            sums.currency: (sums.amount, sums.image_count) for sums in totals if sums.image_count
        } == booked
        assert sum(sums.jobs for sums in totals) == sum(row.sums.jobs for row in report.rows)


@pytest.mark.parametrize("groups", [("team",), ("cost_center", "month"), ("tag:x",)])
async def test_a_price_times_the_images_is_the_amount(
    session: AsyncSession, groups: tuple[str, ...]
) -> None:
    report = await make_report(session, ReportQuery(*SPANS[0], (*groups, "unit_price", "day")))

    priced = [row for row in report.rows if row.unit_price is not None]
    assert {row.sums.image_count > 0 for row in priced} == {True}
    assert len(priced) == sum(row.sums.image_count > 0 for row in report.rows)
    for row in priced:
        assert row.unit_price is not None
        assert row.unit_price * row.sums.image_count == row.sums.amount


@pytest.mark.parametrize("groups", [("team",), ("day", "key"), ("month", "cost_center")])
async def test_the_daily_usage_never_names_a_price_that_the_jobs_do_not_bear(
    session: AsyncSession, groups: tuple[str, ...]
) -> None:
    sums = await make_report(session, ReportQuery(*SPANS[0], groups))
    jobs = await make_report(session, ReportQuery(*SPANS[0], (*groups, "unit_price")))

    borne = defaultdict(set)
    for row in jobs.rows:
        if row.sums.image_count:
            *group, _ = row.group.values()
            borne[*group, row.sums.currency].add(row.unit_price)
    shown = {(*row.group.values(), row.sums.currency): row.unit_price for row in sums.rows}
    assert shown == {
        group: next(iter(borne[group])) if len(borne[group]) == 1 else None for group in shown
    }


async def test_the_waste_is_that_of_the_ledger(session: AsyncSession) -> None:
    span = (date(2026, 1, 1), date(2099, 12, 31))

    report = await make_report(session, ReportQuery(*span))

    shown = {waste.currency: (waste.amount, waste.image_count) for waste in report.waste}
    assert len(shown) > 1
    assert shown == await _fetch_booked(session, "waste", *span)


async def _fetch_booked(session: AsyncSession, kind: str, first: date, last: date) -> Amounts:
    span = {"kind": kind, "from_day": first, "to_day": last}
    rows = await session.execute(text(_BOOKED), span)
    return {currency: (amount, image_count) for currency, amount, image_count in rows}


def _sum_rows(report: Report) -> Amounts:
    lines = ((row.sums.currency, row.sums.amount, row.sums.image_count) for row in report.rows)
    return _add_up(lines)


def _sum_csv(report: Report) -> Amounts:
    stream = io.StringIO(newline="")
    write_csv(report, stream)
    lines = csv.DictReader(io.StringIO(stream.getvalue(), newline=""))
    return _add_up(
        (line["currency"], Decimal(line["amount"] or 0), int(line["image_count"] or 0))
        for line in lines
    )


def _add_up(lines: Iterable[tuple[str, Decimal, int]]) -> Amounts:
    sums: dict[str, list[Decimal | int]] = defaultdict(lambda: [Decimal(0), 0])
    for currency, amount, image_count in lines:
        sums[currency][0] += amount
        sums[currency][1] += image_count
    return {
        currency: (Decimal(amount), int(image_count))
        for currency, (amount, image_count) in sums.items()
        if image_count
    }
