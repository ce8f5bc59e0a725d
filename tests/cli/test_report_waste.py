"""`report` shows what the company paid for nothing, and puts it on no team's bill."""

import csv
import io
from asyncio import to_thread
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.billing.waste import book_waste, take_back_waste
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, transaction
from tests.billing.books import accept_job, end_job, make_payer
from tests.cli.conftest import Run

REPORT = ("report", "--from", "2026-01-01", "--to", "2099-12-31")


@pytest.fixture
async def wasted(pool: Pool, sessions: Sessions, vault: Vault) -> None:
    """A job of two pictures that has delivered one."""
    payer = await make_payer(sessions, vault, name="ads")
    job = await accept_job(pool, payer, n=2)
    await end_job(pool, job, image_count=1, at=datetime(2026, 11, 10, 12, tzinfo=UTC))
    async with transaction(pool) as connection:
        await book_waste(connection, job.job_id, "task-1", billed=2, delivered=1)


@pytest.mark.usefixtures("wasted")
def test_waste_is_a_line_of_the_document_of_the_table_and_of_the_csv(run: Run) -> None:
    document = run(*REPORT, "--json").document
    table = run(*REPORT)
    lines = list(csv.DictReader(io.StringIO(run(*REPORT, "--format", "csv").out)))

    assert document["waste"] == [{"image_count": 1, "amount": "0.20", "currency": "CNY"}]
    assert [row["amount"] for row in document["rows"]] == ["0.20"]
    assert [line.split()[0] for line in table.out.splitlines()[-2:]] == ["total", "waste"]
    assert [line["line"] for line in lines] == ["usage", "total", "waste"]
    assert (lines[-1]["waste_image_count"], lines[-1]["waste_amount"]) == ("1", "0.20")


@pytest.mark.usefixtures("wasted")
def test_no_column_of_the_csv_adds_up_what_belongs_to_different_payers(run: Run) -> None:
    lines = list(csv.DictReader(io.StringIO(run(*REPORT, "--format", "csv").out)))

    for column, expected in (
        ("amount", "0.20"),
        ("waste_amount", "0.20"),
        ("total_amount", "0.20"),
    ):
        assert sum(Decimal(line[column] or 0) for line in lines) == Decimal(expected)
    assert {line["team"] for line in lines if line["amount"]} == {"ads"}


@pytest.mark.usefixtures("wasted")
async def test_waste_that_was_taken_back_later_is_a_number_in_the_csv(
    run: Run, pool: Pool
) -> None:
    async with transaction(pool) as connection:
        await take_back_waste(connection, "task-1")
        await connection.execute(
            "update daily_waste set amount = -0.20, image_count = -1 where image_count = 0"
        )

    *_, waste = csv.DictReader(io.StringIO((await to_thread(run, *REPORT, "--format", "csv")).out))

    assert (waste["waste_image_count"], waste["waste_amount"]) == ("-1", "-0.20")
