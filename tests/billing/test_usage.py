"""Daily usage: each job on its team's own day, and the sums are those of the jobs."""

import asyncio
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app.billing.usage import find_drift
from app.kit.clock import utc_now
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, transaction
from tests.billing.books import accept_job, count_job, end_job, make_payer

LATE = datetime(2026, 11, 30, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timezone", "day"),
    [
        ("UTC", date(2026, 11, 30)),
        ("Asia/Shanghai", date(2026, 12, 1)),
        ("America/New_York", date(2026, 11, 30)),
        ("Asia/Kathmandu", date(2026, 12, 1)),
    ],
)
async def test_a_job_counts_on_its_teams_day(
    pool: Pool, sessions: Sessions, vault: Vault, timezone: str, day: date
) -> None:
    payer = await make_payer(sessions, vault, timezone=timezone)

    await end_job(pool, await accept_job(pool, payer), at=LATE)

    assert await pool.fetchval("select day from daily_usage") == day


async def test_each_outcome_has_its_count(pool: Pool, sessions: Sessions, vault: Vault) -> None:
    payer = await make_payer(sessions, vault)
    ends = [("succeeded", 2), ("succeeded", 1), ("failed", 0), ("canceled", 0), ("expired", 0)]

    for status, image_count in ends:
        job = await accept_job(pool, payer, n=2, unit_price="0.220177")
        await end_job(pool, job, status=status, image_count=image_count, at=LATE)

    row = await pool.fetchrow(
        "select jobs, succeeded, failed, canceled, expired, image_count, amount from daily_usage"
    )
    assert row is not None
    assert tuple(row) == (5, 2, 1, 1, 1, 3, Decimal("0.660531"))


async def test_jobs_that_end_at_once_are_all_counted(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    payer = await make_payer(sessions, vault)
    jobs = [await accept_job(pool, payer) for _ in range(30)]

    await asyncio.gather(*(end_job(pool, job, at=LATE) for job in jobs))

    assert await pool.fetchval("select jobs from daily_usage") == 30
    assert await pool.fetchval("select amount from daily_usage") == Decimal("6.00")


async def test_sums_that_follow_the_jobs_show_no_drift(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    payer = await make_payer(sessions, vault)
    await end_job(pool, await accept_job(pool, payer))
    await end_job(pool, await accept_job(pool, payer, currency="USD"))
    await end_job(pool, await accept_job(pool, payer), status="failed", image_count=0)
    await accept_job(pool, payer)

    async with pool.acquire() as connection:
        assert await find_drift(connection) == []


async def test_a_job_counted_twice_is_found(pool: Pool, sessions: Sessions, vault: Vault) -> None:
    payer = await make_payer(sessions, vault)
    job = await accept_job(pool, payer)
    await end_job(pool, job, at=LATE)

    async with transaction(pool) as connection:
        await count_job(connection, job, status="succeeded", image_count=1, at=LATE)
        (drift,) = await find_drift(connection)

    assert (drift.day, drift.team_id) == (date(2026, 12, 1), payer.team_id)
    assert drift.recorded == (2, 2, Decimal("0.40"))
    assert drift.actual == (1, 1, Decimal("0.20"))


async def test_a_job_that_was_never_counted_is_found(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    job = await accept_job(pool, await make_payer(sessions, vault))
    await end_job(pool, job, at=utc_now())
    await pool.execute("delete from daily_usage")

    async with pool.acquire() as connection:
        (drift,) = await find_drift(connection)

    assert drift.recorded == (0, 0, Decimal(0))
    assert drift.actual == (1, 1, Decimal("0.20"))
