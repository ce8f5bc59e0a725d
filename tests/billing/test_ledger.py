"""The book: every job is settled once, to the last decimal, whatever the concurrency."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from app.billing.ledger import CannotSettle, find_imbalances, settle
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, transaction
from tests.billing.books import AcceptedJob, accept_job, end_job, make_payer

_IS_ONE_WAITING = """
select exists (
  select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
)
"""


async def _settle(pool: Pool, job: AcceptedJob, image_count: int) -> None:
    async with transaction(pool) as connection:
        await settle(connection, **job.settlement(image_count))


async def _entries(pool: Pool, job: AcceptedJob) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        "select kind, debit, credit, amount, image_count from ledger_entries"
        " where job_id = $1 and kind <> 'reserve' order by kind",
        job.job_id,
    )
    return [tuple(row) for row in rows]


async def _balances(pool: Pool, job: AcceptedJob) -> dict[str, Decimal]:
    rows = await pool.fetch(
        "select side, balance from ledger_balances where team_id = $1", job.payer.team_id
    )
    return {row["side"]: row["balance"] for row in rows}


@pytest.fixture
async def job(pool: Pool, sessions: Sessions, vault: Vault) -> AcceptedJob:
    payer = await make_payer(sessions, vault)
    return await accept_job(pool, payer, n=4, unit_price="0.220177")


@pytest.mark.parametrize(
    ("image_count", "entries"),
    [
        (4, [("capture", "spent", "reserved", Decimal("0.880708"), 4)]),
        (0, [("release", "budget", "reserved", Decimal("0.880708"), 4)]),
        (
            3,
            [
                ("capture", "spent", "reserved", Decimal("0.660531"), 3),
                ("release", "budget", "reserved", Decimal("0.220177"), 1),
            ],
        ),
    ],
)
async def test_delivered_images_are_captured_and_the_rest_released(
    pool: Pool, job: AcceptedJob, image_count: int, entries: list[tuple[Any, ...]]
) -> None:
    await _settle(pool, job, image_count)

    assert await _entries(pool, job) == entries
    balances = await _balances(pool, job)
    assert balances["reserved"] == 0
    assert balances["budget"] + balances.get("spent", 0) == 0


@pytest.mark.parametrize("second", [0, 4, 3])
async def test_a_second_settlement_fails_and_changes_nothing(
    pool: Pool, job: AcceptedJob, second: int
) -> None:
    await _settle(pool, job, 4)
    entries = await _entries(pool, job)

    with pytest.raises(CannotSettle, match="settled already"):
        await _settle(pool, job, second)

    assert await _entries(pool, job) == entries


async def test_of_fifty_settlements_at_once_exactly_one_succeeds(
    pool: Pool, job: AcceptedJob
) -> None:
    outcomes = await asyncio.gather(
        *(_settle(pool, job, image_count % 5) for image_count in range(50)),
        return_exceptions=True,
    )

    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, CannotSettle) for outcome in outcomes) == 49
    assert (await _balances(pool, job))["reserved"] == 0


async def test_a_settlement_waits_for_one_that_is_not_committed(
    pool: Pool, job: AcceptedJob
) -> None:
    async with transaction(pool) as connection:
        await settle(connection, **job.settlement(4))
        second = asyncio.create_task(_settle(pool, job, 0))
        while not second.done() and not await pool.fetchval(_IS_ONE_WAITING):
            continue

    with pytest.raises(CannotSettle, match="settled already"):
        await second


async def test_only_what_was_reserved_can_be_settled(pool: Pool, job: AcceptedJob) -> None:
    dearer = replace(job, unit_price=Decimal("0.3"))
    foreign = replace(job, currency="USD")
    unknown = replace(job, job_id=job.payer.team_id)

    for wrong in (dearer, foreign, unknown):
        with pytest.raises(CannotSettle, match="reserved"):
            await _settle(pool, wrong, 1)

    assert await _entries(pool, job) == []


async def test_a_free_image_is_settled_too(pool: Pool, sessions: Sessions, vault: Vault) -> None:
    job = await accept_job(pool, await make_payer(sessions, vault), unit_price="0")

    await end_job(pool, job)

    assert await _entries(pool, job) == [("capture", "spent", "reserved", Decimal(0), 1)]


async def test_a_book_in_order_shows_no_imbalance(
    pool: Pool, sessions: Sessions, vault: Vault
) -> None:
    payer = await make_payer(sessions, vault)
    for image_count in (0, 1, 2):
        job = await accept_job(pool, payer, n=2)
        await end_job(
            pool, job, status="succeeded" if image_count else "failed", image_count=image_count
        )
    await accept_job(pool, payer)

    async with pool.acquire() as connection:
        assert await find_imbalances(connection) == []


async def test_a_job_that_ended_unsettled_is_found(pool: Pool, job: AcceptedJob) -> None:
    await pool.execute(
        "update jobs set status = 'succeeded', finished_at = now(), image_count = 2,"
        " amount = 2 * unit_price where id = $1",
        job.job_id,
    )

    async with pool.acquire() as connection:
        (found,) = await find_imbalances(connection)

    assert (found.job_id, found.status) == (job.job_id, "succeeded")
    assert (found.reserved, found.expected_reserved) == (Decimal("0.880708"), Decimal(0))
    assert (found.spent, found.expected_spent) == (Decimal(0), Decimal("0.440354"))


async def test_a_running_job_that_is_settled_is_found(pool: Pool, job: AcceptedJob) -> None:
    await _settle(pool, job, 4)

    async with pool.acquire() as connection:
        assert [found.job_id for found in await find_imbalances(connection)] == [job.job_id]
