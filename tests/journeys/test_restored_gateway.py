"""From a backup under load to a served picture: nothing is missing, and nothing is sent twice."""

import asyncio
import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.billing.ledger import find_imbalances
from app.billing.usage import find_drift
from app.billing.waste import find_waste_drift
from app.jobs.requeue import requeue_job
from app.kit.postgres.database import connect, open_pool
from tests.databases import cloned_database, empty_database
from tests.emulator.client import QUICK
from tests.gateway import Gateway, running_gateway
from tests.journeys.traveller import Job, Traveller
from tests.waiting import wait_until

JOBS_COUNT = 12
WAITING_COUNT = 2
"""Queued while the backup is made, and sent after it."""
BUSY = replace(QUICK, running_seconds=(0.3, 0.4), running_slots=2)


@pytest.fixture
async def fresh_url(server_url: str) -> AsyncIterator[str]:
    async with empty_database(server_url) as url:
        yield url


@pytest.fixture
async def gateway(server_url: str, template: str, fresh_url: str) -> AsyncIterator[Gateway]:
    """It is stopped before the database that it moves to goes."""
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url, emulator=BUSY) as gateway,
    ):
        yield gateway


async def test_a_gateway_that_is_backed_up_under_load_comes_back(
    gateway: Gateway, fresh_url: str
) -> None:
    traveller = Traveller(gateway, gateway.seat)
    later = Traveller(gateway, await gateway.make_seat())
    first = await traveller.wait_for(await traveller.send())
    picture = await traveller.fetch(first["pictures"][0])
    await weigh(gateway.database_url, later, 0)
    waiting = [await later.send() for _ in range(WAITING_COUNT)]
    jobs = [await traveller.send() for _ in range(JOBS_COUNT)]

    made = await run_command(gateway, "backup", "kept", "--json")

    assert made["store"]["missing"] == []
    await weigh(gateway.database_url, later, 1)
    ended = [*await traveller.finish(jobs), *await later.finish(waiting)]
    assert {job["status"] for job in ended} == {"succeeded"}
    restored = await move_to(gateway, fresh_url)
    await weigh(fresh_url, later, 1)
    assert restored["held"] >= WAITING_COUNT

    await gateway.start("worker")
    await expect_served(traveller, first, picture)
    await settle(traveller, jobs)
    assert {job["status"] for job in [await later.get(job) for job in waiting]} == {"queued"}
    await expect_sent_once(gateway)
    await expect_all_kept(gateway, fresh_url)

    await let_go(fresh_url, waiting[0])
    assert (await later.wait_for(waiting[0]))["status"] == "succeeded"


async def move_to(gateway: Gateway, url: str) -> dict[str, Any]:
    """Destroy store and processes, and bring the backup to another database and store."""
    await gateway.kill("worker")
    await gateway.kill("api")
    shutil.rmtree(gateway.folder / "store")
    gateway.environment["DATABASE_URL"] = url
    gateway.environment["DASHGATE_STORE_URL"] = (gateway.folder / "new-store").as_uri()
    restored: dict[str, Any] = await run_command(gateway, "restore", "kept", "--json")
    await gateway.start("api")
    return restored


async def run_command(gateway: Gateway, *arguments: str) -> Any:
    """What a command prints as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", *arguments,
        env=gateway.environment, cwd=gateway.folder, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def weigh(url: str, traveller: Traveller, weight: int) -> None:
    """Let the team's jobs wait, or go."""
    connection = await connect(url)
    try:
        await connection.execute(
            "update teams set weight = $2 where id = $1", traveller.seat.team_id, weight
        )
    finally:
        await connection.close()


async def let_go(url: str, job: Job) -> None:
    pool = await open_pool(url, max_size=1)
    try:
        await requeue_job(pool, UUID(job["id"]), reason="its pictures are lost")
    finally:
        await pool.close()


async def expect_served(traveller: Traveller, job: Job, content: bytes) -> None:
    again = await traveller.get(job)
    assert again["usage"] == job["usage"]
    assert await traveller.fetch(again["pictures"][0]) == content


async def settle(traveller: Traveller, jobs: list[Job]) -> None:
    """Until nothing is on its way any more: what is left is held."""

    async def is_settled() -> bool:
        found = [await traveller.get(job) for job in jobs]
        return {job["status"] for job in found} <= {"queued", "succeeded"}

    await wait_until(is_settled)


async def expect_sent_once(gateway: Gateway) -> None:
    """Also those that were queued in the backup, and went out after it."""
    await asyncio.sleep(1)
    bill = await gateway.bill()
    sent = Counter(line["prompt"] for line in bill["tasks"])
    assert len(sent) == JOBS_COUNT + WAITING_COUNT + 1
    assert set(sent.values()) == {1}


async def expect_all_kept(gateway: Gateway, url: str) -> None:
    """Every picture that the database promises is in the store, and the books are in order."""
    connection = await connect(url)
    try:
        kept = await connection.fetch(
            "select store_key, encode(sha256, 'hex') as sha256 from pictures where status = 'kept'"
        )
        for row in kept:
            content = Path(gateway.folder, "new-store", row["store_key"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert await find_imbalances(connection) == []
        assert await find_drift(connection) == []
        assert await find_waste_drift(connection) == []
    finally:
        await connection.close()
    assert len(kept) > 1
