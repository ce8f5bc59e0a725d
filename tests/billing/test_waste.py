"""Waste: billed less delivered, once a task; it can be taken back, and its days add up."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing.ledger import find_imbalances
from app.billing.waste import book_waste, count_waste, find_waste_drift, take_back_waste
from app.kit.crypto import Vault
from app.kit.postgres.database import Connection, Pool, Sessions, transaction
from tests.billing.books import AcceptedJob, accept_job, end_job, make_payer

COUNTS = st.integers(0, 10)


@pytest.fixture
async def job(pool: Pool, sessions: Sessions, vault: Vault) -> AcceptedJob:
    """A job of four pictures that has ended with one."""
    job = await accept_job(pool, await make_payer(sessions, vault), n=4)
    await end_job(pool, job, image_count=1)
    return job


@pytest.fixture
async def connection(pool: Pool) -> AsyncIterator[Connection]:
    async with transaction(pool) as connection:
        yield connection


async def list_entries(connection: Connection) -> list[tuple[str, str, int]]:
    """The side that gains, the amount and the images of each entry of waste."""
    rows = await connection.fetch(
        "select debit, amount, image_count from ledger_entries where kind = 'waste' order by id"
    )
    return [(row["debit"], f"{row['amount']:.2f}", row["image_count"]) for row in rows]


@given(COUNTS, COUNTS)
def test_what_is_billed_is_delivered_or_waste(billed: int, delivered: int) -> None:
    wasted = count_waste(billed, delivered)

    assert wasted >= 0
    assert delivered + wasted == max(billed, delivered)


@given(COUNTS)
def test_of_a_bill_that_was_not_told_nothing_is_waste_yet(delivered: int) -> None:
    assert count_waste(None, delivered) == 0


async def test_a_task_is_booked_again_only_for_what_is_missing(
    connection: Connection, job: AcceptedJob
) -> None:
    for billed in (2, 2, 1, 4):
        await book_waste(connection, job.job_id, "t", billed=billed, delivered=1)

    assert await list_entries(connection) == [("waste", "0.20", 1), ("waste", "0.40", 2)]
    assert await find_waste_drift(connection) == []


async def test_each_task_of_a_job_is_booked_for_itself(
    connection: Connection, job: AcceptedJob
) -> None:
    for task_id in ("t", "u"):
        await book_waste(connection, job.job_id, task_id, billed=1)

    assert await list_entries(connection) == [("waste", "0.20", 1)] * 2


async def test_what_is_taken_back_is_an_entry_the_other_way_and_may_be_waste_again(
    connection: Connection, job: AcceptedJob
) -> None:
    await book_waste(connection, job.job_id, "t", billed=2)
    for _ in range(2):
        await take_back_waste(connection, "t")
    assert await find_waste_drift(connection) == []
    assert await connection.fetchval("select sum(image_count) from daily_waste") == 0

    await book_waste(connection, job.job_id, "t", billed=1)

    assert await list_entries(connection) == [
        ("waste", "0.40", 2),
        ("company", "0.40", 2),
        ("waste", "0.20", 1),
    ]
    assert await find_waste_drift(connection) == []
    assert await find_imbalances(connection) == []


async def test_a_day_that_is_not_the_ledgers_is_found(
    connection: Connection, job: AcceptedJob
) -> None:
    await book_waste(connection, job.job_id, "t", billed=2)
    await connection.execute("update daily_waste set image_count = 1")
    (drift,) = await find_waste_drift(connection)
    assert (drift.recorded, drift.actual) == (1, 2)

    await connection.execute("delete from daily_waste")

    (drift,) = await find_waste_drift(connection)
    assert (drift.recorded, drift.actual) == (0, 2)
