"""Callers of the native door, and their jobs moved on as a worker would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from app.accounts.tables import Account
from app.jobs.lifecycle import (
    Collect,
    Decision,
    Fail,
    Fence,
    Flag,
    JobStatus,
    Run,
    TaskFacts,
    UpstreamPicture,
)
from app.jobs.record import end, record
from app.kit.crypto import Vault
from app.kit.postgres.database import Pool, Sessions, transaction
from app.media.store import PictureStore, content_key
from app.teams.tables import Team
from tests.api.server import open_client
from tests.factories import make_key, make_team
from tests.media.images import make_image
from tests.media.kept import keep_until

SOURCE = "https://results.example/{index}.png"
PICTURE = make_image("PNG", 64, 48)

_slots = count()


@dataclass(slots=True)
class Backstage:
    """What stands behind the API under test: its address, its rows, its store."""

    url: str
    pool: Pool = field(repr=False)
    sessions: Sessions = field(repr=False)
    vault: Vault = field(repr=False)
    store: PictureStore
    store_folder: Path
    account: Account

    async def start_job(self, job_id: str) -> Fence:
        """The job has become a task upstream."""
        fence = Fence(UUID(job_id), 1)
        async with transaction(self.pool) as connection:
            await connection.execute(
                _CLAIM, fence.job_id, self.account.id, next(_slots), "job.submitting"
            )
            await record(connection, fence, Run(f"task-{job_id}", "request-1"))
        return fence

    async def write(self, fence: Fence, decision: Decision) -> None:
        async with transaction(self.pool) as connection:
            await record(connection, fence, decision)

    async def collect_job(self, job_id: str, *, failed_indexes: tuple[int, ...] = ()) -> Fence:
        """The task has succeeded; two slots, those failed that are named."""
        fence = await self.start_job(job_id)
        pictures = tuple(_make_slot(index, index in failed_indexes) for index in range(2))
        facts = TaskFacts("SUCCEEDED", None, None, datetime.now(UTC), 2 - len(failed_indexes))
        await self.write(fence, Collect(facts, pictures))
        return fence

    async def finish_job(self, job_id: str, *, failed_indexes: tuple[int, ...] = ()) -> None:
        """The pictures are ours and the job has succeeded."""
        fence = await self.collect_job(job_id, failed_indexes=failed_indexes)
        digest = sha256(PICTURE).hexdigest()
        await self.store.put(content_key("pictures", digest), PICTURE)
        async with transaction(self.pool) as connection:
            await connection.execute(
                _KEEP, fence.job_id, content_key("pictures", digest), digest, len(PICTURE)
            )
            await end(connection, fence, JobStatus.SUCCEEDED)

    async def fail_job(self, job_id: str, code: str, message: str) -> None:
        """The task has failed."""
        facts = TaskFacts("FAILED", None, None, datetime.now(UTC), 0)
        await self.write(await self.start_job(job_id), Fail(code, message, task=facts))

    async def flag_job(self, job_id: str, code: str, detail: str) -> None:
        await self.write(await self.start_job(job_id), Flag(code, detail))

    async def keep_file(self, team: Team, content: bytes = PICTURE) -> UUID:
        """An uploaded file of the team."""
        expires_at = datetime.now(UTC) + timedelta(hours=1)
        return (await keep_until(self.pool, self.store, team.id, content, expires_at)).id

    async def count_jobs(self, team: Team) -> int:
        jobs: int = await self.pool.fetchval(
            "select count(*) from jobs where team_id = $1", team.id
        )
        return jobs


@dataclass(slots=True)
class Caller:
    """A team of its own with a key, and a client that sends that key."""

    backstage: Backstage = field(repr=False)
    team: Team
    key: str = field(repr=False)
    http: httpx.AsyncClient = field(repr=False)

    async def create(self, **fields: Any) -> dict[str, Any]:
        """Accept a whole request but for these fields; returns the job."""
        answer = await self.http.post("/v1/jobs", json=edit(**fields))
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def read(self, job_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job


@asynccontextmanager
async def new_caller(backstage: Backstage, **key_settings: Any) -> AsyncIterator[Caller]:
    team = await make_team(backstage.sessions)
    key = await make_key(backstage.sessions, backstage.vault, owner=team, **key_settings)
    async with open_client(backstage.url, key.text) as http:
        yield Caller(backstage, team, key.text, http)


def edit(**fields: Any) -> dict[str, Any]:
    """A request body, whole but for what a test puts in."""
    return {"prompt": "make it blue", "images": ["https://img.example/a.png"], **fields}


def _make_slot(index: int, failed: bool) -> UpstreamPicture:
    if failed:
        return UpstreamPicture(index, None, None, "InternalError.Timeout", "took too long")
    return UpstreamPicture(index, SOURCE.format(index=index), f"blue, {index}", None, None)


_CLAIM = """
with claimed as (
    update job_runs set status = 'submitting', attempt = 1, account_id = $2, slot = $3,
        lane_id = (select id from lanes where account_id = $2)
    where job_id = $1 returning job_id, lane_id
), story as (
    insert into job_events (at, job_id, type) select now(), job_id, $4 from claimed
)
insert into attempts (job_id, number, account_id, lane_id, intended_at, outcome)
select job_id, 1, $2, lane_id, now(), 'intended' from claimed
"""

_KEEP = """
update pictures set status = 'kept', store_key = $2, sha256 = decode($3, 'hex'),
    content_type = 'image/png', byte_count = $4, width = 64, height = 48, kept_at = now(),
    source_url = null
where job_id = $1 and status = 'upstream'
"""
