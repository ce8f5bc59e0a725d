"""A team, an account and a price: all that a job needs, and the steps of its life by hand."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.billing.ledger import find_imbalances
from app.billing.usage import find_drift
from app.billing.waste import find_waste_drift
from app.jobs.acceptance import accept_batch
from app.jobs.accepting.outcomes import Acceptance, Idempotency, NewJob, Outcome
from app.jobs.engine.claim import LaneTurn, Pause, claim_submission
from app.jobs.engine.submit import Submission
from app.jobs.lifecycle import (
    Collect,
    Decision,
    Fence,
    JobStatus,
    Run,
    TaskFacts,
    UpstreamPicture,
)
from app.jobs.record import end, record
from app.jobs.store import JobRecord, get_job
from app.kit.crypto import Vault
from app.kit.ids import make_uuid7
from app.kit.postgres.database import Pool, Record, Sessions, transaction
from tests.factories import MODEL, make_account, make_key, make_price, make_team

FAST = 1_000.0
"""Submits a second: no test waits for the pace unless it is about the pace."""


class CannotWrite(Exception):
    """What a witness of a change may meet."""


async def fail_to_write(*_: object) -> None:
    raise CannotWrite


@dataclass(frozen=True, slots=True)
class Scene:
    """Each method is one transaction of the engine, on a database of its own."""

    pool: Pool
    team_id: UUID
    key_id: UUID
    account_id: UUID
    lane_id: UUID

    def ask(
        self,
        *,
        idempotency: Idempotency | None = None,
        team_id: UUID | None = None,
        input_ids: tuple[UUID, ...] = (),
        **changes: Any,
    ) -> NewJob:
        """A checked request, as the doors hand it to the intake."""
        job_id = make_uuid7()
        row = {
            "id": str(job_id),
            "team_id": str(team_id or self.team_id),
            "key_id": str(self.key_id),
            "door": "native",
            "model": MODEL,
            "prompt": "make it blue",
            "negative_prompt": None,
            "images": [{"url": "https://img.example/a.png"}],
            "n": 1,
            "size": None,
            "seed": None,
            "watermark": False,
            "prompt_extend": True,
            "metadata": {},
            "priority": "interactive",
            "ttl_seconds": 3_600,
        } | changes
        return NewJob(job_id, team_id or self.team_id, row["model"], row, idempotency, input_ids)

    async def store(self, *jobs: NewJob) -> list[Outcome]:
        async with transaction(self.pool) as connection:
            return await accept_batch(connection, jobs)

    async def accept(self, **changes: Any) -> UUID:
        (outcome,) = await self.store(self.ask(**changes))
        assert isinstance(outcome, Acceptance), outcome
        return outcome.job_id

    def turn(self, **changes: Any) -> LaneTurn:
        turn = LaneTurn(
            account_id=self.account_id,
            lane_id=self.lane_id,
            model=MODEL,
            slots=5,
            submit_rate=FAST,
            lease_seconds=25.0,
        )
        return replace(turn, **changes)

    async def try_claim(self, **changes: Any) -> tuple[Submission | None, Pause]:
        async with transaction(self.pool) as connection:
            return await claim_submission(connection, self.turn(**changes))

    async def claim(self, **changes: Any) -> Submission:
        submission, _ = await self.try_claim(**changes)
        assert submission is not None
        return submission

    async def decide(self, fence: Fence, decision: Decision) -> None:
        async with transaction(self.pool) as connection:
            await record(connection, fence, decision)

    async def submitting(self, **changes: Any) -> Fence:
        """A job whose create is on its way."""
        await self.accept(**changes)
        return (await self.claim()).fence

    async def running(self, task_id: str = "task-1", **changes: Any) -> Fence:
        fence = await self.submitting(**changes)
        await self.decide(fence, Run(task_id, f"request-of-{task_id}"))
        return fence

    async def finalizing(
        self, *urls: str | None, task_id: str = "task-1", **changes: Any
    ) -> Fence:
        """A job whose task has ended with a picture at each URL, or failed where there is none."""
        fence = await self.running(task_id, n=len(urls), **changes)
        await self.decide(fence, ended_with(*urls))
        return fence

    async def keep(self, fence: Fence, *indexes: int) -> None:
        """As if those pictures were kept; the others are lost."""
        await self.pool.execute(_KEEP, fence.job_id, list(indexes))

    async def finish(self, fence: Fence, status: JobStatus = JobStatus.SUCCEEDED) -> None:
        async with transaction(self.pool) as connection:
            await end(connection, fence, status)

    async def get(self, job_id: UUID) -> JobRecord:
        return await get_job(self.pool, job_id, team_id=None)

    async def run_of(self, job_id: UUID) -> Record | None:
        return await self.pool.fetchrow("select * from job_runs where job_id = $1", job_id)

    async def attempts_of(self, job_id: UUID) -> list[Record]:
        return await self.pool.fetch(
            "select * from attempts where job_id = $1 order by number", job_id
        )

    async def story_of(self, job_id: UUID) -> list[str]:
        rows = await self.pool.fetch(
            "select type from job_events where job_id = $1 order by id", job_id
        )
        return [row["type"] for row in rows]

    async def entries_of(self, job_id: UUID) -> list[tuple[str, str, int]]:
        """Kind, amount and images of each entry in the ledger, in order."""
        rows = await self.pool.fetch(
            "select kind, amount, image_count from ledger_entries where job_id = $1 order by id",
            job_id,
        )
        return [(row["kind"], f"{row['amount']:.2f}", row["image_count"]) for row in rows]

    async def usage(self) -> list[tuple[object, ...]]:
        """Jobs, succeeded, failed, canceled, expired, images and amount of each day."""
        rows = await self.pool.fetch(
            "select jobs, succeeded, failed, canceled, expired, image_count, amount::text"
            " from daily_usage"
        )
        return [tuple(row) for row in rows]

    async def expect_books_in_order(self) -> None:
        async with transaction(self.pool) as connection:
            assert await find_imbalances(connection) == []
            assert await find_drift(connection) == []
            assert await find_waste_drift(connection) == []


async def make_scene(pool: Pool, sessions: Sessions, vault: Vault) -> Scene:
    await make_price(sessions)
    team = await make_team(sessions)
    key = await make_key(sessions, vault, owner=team)
    account = await make_account(sessions, vault)
    lane_id = await pool.fetchval("select id from lanes where account_id = $1", account.id)
    await pool.execute(
        "insert into account_paces (account_id, model) values ($1, $2)", account.id, MODEL
    )
    return Scene(pool, team.id, key.row.id, account.id, lane_id)


async def add_account(
    scene: Scene, sessions: Sessions, vault: Vault, **limits: Any
) -> tuple[UUID, UUID]:
    """Another account of the model and its lane."""
    account = await make_account(sessions, vault, **limits)
    await scene.pool.execute(
        "insert into account_paces (account_id, model) values ($1, $2)", account.id, MODEL
    )
    lane_id: UUID = await scene.pool.fetchval(
        "select id from lanes where account_id = $1", account.id
    )
    return account.id, lane_id


def ended_with(*urls: str | None, ended_at: datetime | None = None) -> Collect:
    """What follows from a task that ended with these pictures; None is one that failed."""
    pictures = tuple(
        UpstreamPicture(
            index=index,
            url=url,
            actual_prompt=None,
            error_code=None if url else "InternalError.Timeout",
            error_message=None if url else "it took too long",
        )
        for index, url in enumerate(urls)
    )
    delivered = sum(url is not None for url in urls)
    facts = TaskFacts("SUCCEEDED", None, None, ended_at or datetime.now(UTC), delivered)
    return Collect(facts, pictures)


async def is_one_waiting(scene: Scene) -> bool:
    """Whether a transaction of the scene's database waits for another."""
    count: int = await scene.pool.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and wait_event_type = 'Lock'"
    )
    return count == 1


_KEEP = """
update pictures set source_url = null,
    status = case when index = any($2) then 'kept' else 'failed' end,
    error_code = case when index = any($2) then null else 'picture_lost' end,
    store_key = case when index = any($2) then 'k' end,
    sha256 = '\\x00', content_type = 'image/png', byte_count = 1, width = 1, height = 1
where job_id = $1 and status = 'upstream'
"""
