"""`report` shows what the company paid for nothing, and puts it on no team's bill."""

import csv
import io
from datetime import UTC, datetime

import pytest

from app.billing.waste import book_waste
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
def test_waste_is_a_line_of_the_document_of_the_table_and_beside_the_csv(run: Run) -> None:
    document = run(*REPORT, "--json").document
    table = run(*REPORT)
    printed = run(*REPORT, "--format", "csv")

    assert document["waste"] == [{"image_count": 1, "amount": "0.20", "currency": "CNY"}]
    assert [row["amount"] for row in document["rows"]] == ["0.20"]
    assert [line.split()[0] for line in table.out.splitlines()[-2:]] == ["total", "waste"]
    assert len(list(csv.DictReader(io.StringIO(printed.out)))) == 1
    assert "1 images, 0.20 CNY" in printed.err
