"""Durable acceptance: jobs that arrive together share one transaction and one commit.

That transaction stores the job, its run, its first event and its reservation, and honours the
idempotency key. A caller hears of its job only after the commit.
"""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.jobs.acceptance import Abandoned, Acceptance, NewJob, StillAnswering, accept_batch
from app.kit.errors import Unavailable
from app.kit.faultpoints import faultpoint
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool, transaction

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BATCH_LIMIT = 128
WAITING_LIMIT = 4_096
LOOK_AGAIN_TIMES = 20
LOOK_AGAIN_SECONDS = 0.25
WRITERS = 2
"""While one batch is being committed, the next one fills."""
ANSWER_SECONDS = 20.0
"""Longer than a process that hangs is taken for alive."""
ANSWER_STEP_SECONDS = 0.02


@dataclass(slots=True)
class _Waiting:
    job: NewJob
    answer: asyncio.Future[Acceptance]


class Intake:
    """One process's way of accepting jobs: a queue and the writers that empty it in batches."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING_LIMIT)
        self._writers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._writers = [asyncio.create_task(self._write()) for _ in range(WRITERS)]

    async def close(self) -> None:
        """Write what is waiting, then stop."""
        await self._queue.join()
        for writer in self._writers:
            writer.cancel()
        await asyncio.gather(*self._writers, return_exceptions=True)

    async def accept(self, job: NewJob) -> Acceptance:
        """Store a job; returns once it would survive a crash.

        Raises KeyReused, Unavailable, or what the price list says against it.
        """
        deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS
        while True:
            try:
                return await self._accept(job)
            except StillAnswering:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await _refuse_if_abandoned(job)
                await asyncio.sleep(ANSWER_STEP_SECONDS)

    async def _accept(self, job: NewJob) -> Acceptance:
        waiting = _Waiting(job, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise Unavailable(
                f"{WAITING_LIMIT} jobs wait to be stored: send this one again in a moment",
                code="intake_full",
            ) from None
        return await waiting.answer

    async def release_guard(self, team_id: UUID, key: str) -> None:
        """The answer was written: an equal create that comes now is meant."""
        await self._pool.execute(
            "delete from idempotency_keys where team_id = $1 and key = $2", team_id, key
        )

    async def arm_guard(self, team_id: UUID, key: str) -> None:
        """The client left without its answer: an equal create that comes now is the same one."""
        await self._pool.execute(
            "update idempotency_keys set owner = null where team_id = $1 and key = $2",
            team_id,
            key,
        )

    async def _write(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_LIMIT and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                for part in _without_shared_keys(batch):
                    await self._write_batch(part)
            finally:
                for waiting in batch:
                    _settle(waiting, Unavailable("the job was not stored: send it again"))
                    self._queue.task_done()

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        """Store a batch; when one of its jobs spoils it, store them one by one."""
        try:
            async with transaction(self._pool) as connection:
                outcomes = await accept_batch(connection, [waiting.job for waiting in batch])
                faultpoint("intake.before_commit")
        except CONNECTION_TROUBLE as error:
            log.warning("intake.database_lost", jobs=len(batch), error=type(error).__name__)
            await self._settle_after_trouble(batch)
        except Exception as error:
            if len(batch) == 1:
                log.exception("intake.job_refused", job_id=str(batch[0].job.id))
                _settle(batch[0], error)
                return
            for waiting in batch:
                await self._write_batch([waiting])
        else:
            faultpoint("intake.committed")
            for waiting, outcome in zip(batch, outcomes, strict=True):
                _settle(waiting, outcome)

    async def _settle_after_trouble(self, batch: list[_Waiting]) -> None:
        """The connection broke: the commit may have come through, and then the jobs are there."""
        stored = await self._find_stored([waiting.job.id for waiting in batch])
        for waiting in batch:
            if waiting.job.id in stored:
                _settle(waiting, Acceptance(waiting.job.id))
            else:
                _settle(waiting, _NOT_STORED)

    async def _find_stored(self, job_ids: list[UUID]) -> set[UUID]:
        for _ in range(LOOK_AGAIN_TIMES):
            try:
                rows = await self._pool.fetch("select id from jobs where id = any($1)", job_ids)
            except CONNECTION_TROUBLE:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            else:
                return {row["id"] for row in rows}
        return set()


async def _refuse_if_abandoned(job: NewJob) -> None:
    """The equal create that is being answered is this one, sent again by a client that left."""
    is_abandoned = job.idempotency.is_abandoned if job.idempotency is not None else None
    if is_abandoned is not None and await is_abandoned():
        raise Abandoned("the client has left and sent its request again")


_NOT_STORED = Unavailable(
    "the database cannot be reached: send the request again; with an Idempotency-Key it cannot "
    "become two jobs",
    code="database_unavailable",
)


def _without_shared_keys(batch: list[_Waiting]) -> list[list[_Waiting]]:
    """The batch in as few parts as it takes for no two jobs of a part to share a key."""
    parts: list[list[_Waiting]] = []
    seen: dict[tuple[UUID, str], int] = {}
    for waiting in batch:
        part = 0
        if waiting.job.idempotency is not None:
            identity = (waiting.job.team_id, waiting.job.idempotency.key)
            part = seen[identity] = seen.get(identity, -1) + 1
        while len(parts) <= part:
            parts.append([])
        parts[part].append(waiting)
    return parts


def _settle(waiting: _Waiting, outcome: Acceptance | Exception) -> None:
    if waiting.answer.done():
        return
    if isinstance(outcome, Acceptance):
        waiting.answer.set_result(outcome)
    else:
        waiting.answer.set_exception(outcome)
