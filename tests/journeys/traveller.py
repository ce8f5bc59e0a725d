"""A client of a whole gateway, and the auditor who compares its books with the upstream's."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from app.billing.ledger import find_imbalances
from app.billing.reports import ReportQuery, make_report
from app.billing.usage import find_drift
from app.billing.waste import find_waste_drift
from app.kit.clock import utc_now
from app.kit.postgres.database import Record, connect
from tests.emulator.client import SMALL_PICTURE
from tests.gateway import Gateway, Seat

FINAL = {"succeeded", "failed", "canceled", "expired"}
PATIENCE_SECONDS = 40.0
ACCOUNT_KEY = "sk-0123456789abcdef"
"""The upstream key of the gateway's account."""

Job = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Traveller:
    """One team's client; its prompts are its own, so that the upstream's bill tells them apart."""

    gateway: Gateway
    seat: Seat

    async def send(self, *, n: int = 1, prompt: str = "make it blue", **fields: Any) -> Job:
        """Submit a job; returns once it is accepted."""
        body = {
            "prompt": f"{prompt} {uuid4()}",
            "images": [SMALL_PICTURE],
            "size": "768*768",
            "n": n,
        }
        answer = await self._call("POST", "/v1/jobs", json=body | fields)
        assert answer.status_code in {200, 202}, answer.text
        job: Job = answer.json()
        return job

    async def get(self, job: Job) -> Job:
        answer = await self._call("GET", f"/v1/jobs/{job['id']}")
        assert answer.status_code == 200, answer.text
        found: Job = answer.json()
        return found

    async def wait_for(self, job: Job, *statuses: str) -> Job:
        """The job once it has one of the statuses; any final one by default."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            found = await self.get(job)
            if found["status"] in (statuses or FINAL):
                return found
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)

    async def finish(self, jobs: Iterable[Job]) -> list[Job]:
        return list(await asyncio.gather(*(self.wait_for(job) for job in jobs)))

    async def fetch(self, picture: dict[str, Any]) -> bytes:
        """The bytes behind a picture's link, as somebody without a key gets them."""
        answer = await self.gateway.http.get(picture["url"])
        assert answer.status_code == 200, answer.text
        return answer.content

    async def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.seat.key}"}
        return await self.gateway.http.request(
            method, f"{self.gateway.url}{path}", headers=headers, **options
        )


async def expect_fair_books(traveller: Traveller, jobs: list[Job]) -> None:
    """One billed task a job, its pictures byte for byte, and books that equal the bill."""
    gateway = traveller.gateway
    bill = await gateway.bill()
    for job in jobs:
        lines = [
            line
            for line in bill["tasks"]
            if line["prompt"] == job["prompt"] and line["image_count"]
        ]
        assert len(lines) <= 1, (job, lines)
        billed = sum(line["image_count"] for line in lines)
        assert billed == job["usage"]["image_count"], (job, lines)
        await _expect_same_pictures(traveller, job)
    await _read(gateway, _expect_balance)
    mine = {job["prompt"] for job in jobs}
    total = sum(line["image_count"] for line in bill["tasks"] if line["prompt"] in mine)
    assert await report(traveller) == (Counter(job["status"] for job in jobs), total)


async def report(traveller: Traveller) -> tuple[Counter[str], int]:
    """What the team's report says: jobs by status, and pictures."""
    today = utc_now().date()
    day = timedelta(days=1)
    query = ReportQuery(today - day, today + day, team_id=traveller.seat.team_id)
    async with traveller.gateway.sessions() as session:
        rows = (await make_report(session, query)).rows
    sums = Counter[str]()
    for row in rows:
        for status in sorted(FINAL):
            sums[status] += getattr(row.sums, status)
    return +sums, sum(row.sums.image_count for row in rows)


async def attempts_of(gateway: Gateway, job: Job) -> list[Record]:
    statement = "select * from attempts where job_id = $1 order by number"
    return await query(gateway, statement, job["id"])


async def story_of(gateway: Gateway, job: Job) -> list[str]:
    statement = "select type from job_events where job_id = $1 order by id"
    return [row["type"] for row in await query(gateway, statement, job["id"])]


async def query(gateway: Gateway, statement: str, *values: object) -> list[Record]:
    async def read(connection: Any) -> list[Record]:
        rows: list[Record] = await connection.fetch(statement, *values)
        return rows

    return await _read(gateway, read)


async def let_leases_run_out(gateway: Gateway) -> None:
    """As if the time that a dead process's leases last had passed."""
    await query(
        gateway, "update job_runs set lease_expires_at = now() where lease_token is not null"
    )


async def let_doubts_settle(gateway: Gateway) -> None:
    """As if creates without an answer had been sent long enough ago for their task to show."""
    await query(
        gateway,
        "update attempts set intended_at = intended_at - interval '15 s'"
        " where outcome in ('intended', 'unknown')",
    )


async def _expect_same_pictures(traveller: Traveller, job: Job) -> None:
    ours = [picture for picture in job["pictures"] if "url" in picture]
    assert len(ours) == job["usage"]["image_count"]
    if not ours:
        return
    theirs = await _ask_upstream_for_pictures(traveller.gateway, job)
    for picture in ours:
        content = await traveller.fetch(picture)
        assert content == theirs[picture["index"]]
        assert hashlib.sha256(content).hexdigest() == picture["sha256"]
        assert len(content) == picture["bytes"]


async def _ask_upstream_for_pictures(gateway: Gateway, job: Job) -> dict[int, bytes]:
    (attempt,) = [
        row for row in await attempts_of(gateway, job) if row["upstream_task_id"] is not None
    ]
    headers = {"Authorization": f"Bearer {ACCOUNT_KEY}"}
    url = f"{gateway.upstream_url}/tasks/{attempt['upstream_task_id']}"
    output = (await gateway.http.get(url, headers=headers)).json()["output"]
    return {
        index: (await gateway.http.get(item["url"])).content
        for index, item in enumerate(output["results"])
        if "url" in item
    }


async def _expect_balance(connection: Any) -> None:
    assert await find_imbalances(connection) == []
    assert await find_drift(connection) == []
    assert await find_waste_drift(connection) == []


async def _read(gateway: Gateway, read: Callable[[Any], Awaitable[T]]) -> T:
    connection = await connect(gateway.database_url)
    try:
        return await read(connection)
    finally:
        await connection.close()
