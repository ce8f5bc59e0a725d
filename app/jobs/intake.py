"""Durable acceptance: jobs that arrive together share one transaction and one commit.

That transaction stores the job, its run, its first event and its reservation, and honours the
idempotency key. A caller hears of its job only after the commit.
"""

import asyncio
from uuid import UUID

import asyncpg
import structlog

from app.jobs.acceptance import accept_batch, find_stored, stored
from app.jobs.accepting.guards import Guards
from app.jobs.accepting.outcomes import (
    Abandoned,
    Acceptance,
    NewJob,
    Outcome,
    Seen,
    StillAnswering,
)
from app.kit.deadlines import within
from app.kit.errors import Unavailable
from app.kit.faultpoints import faultpoint
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool, transaction_within
from app.kit.postgres.trouble import describe_trouble

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BATCH_LIMIT = 128
WAITING_LIMIT = 4_096
ACCEPT_SECONDS = 30.0
"""A whole acceptance, from the inputs to the answer."""
BATCH_SECONDS = 10.0
LOOK_UP_SECONDS = 10.0
LOOK_AGAIN_SECONDS = 0.25
WRITERS = 2
"""While one batch is being committed, the next one fills."""
RESTART_SECONDS = 0.1
ANSWER_SECONDS = 20.0
"""Longer than a process that hangs is taken for alive."""
ANSWER_STEP_SECONDS = 0.02


class Unconfirmed(Unavailable):
    """Nobody knows yet whether the job was stored."""

    code = "acceptance_unconfirmed"

    def __init__(self) -> None:
        super().__init__(
            "the database did not confirm in time that the job was stored: it may have been. Send "
            "the same request again; with its Idempotency-Key it cannot become two jobs"
        )


class _Waiting:
    """One job in the queue, and the answer that its caller waits for."""

    __slots__ = ("answer", "is_given_up", "is_taken", "job")

    def __init__(self, job: NewJob) -> None:
        self.job = job
        self.answer: asyncio.Future[Acceptance] = asyncio.get_running_loop().create_future()
        self.answer.add_done_callback(_note_seen)
        self.is_taken = self.is_given_up = False

    def take(self) -> bool:
        """A writer begins with it, unless its caller was told that it was not stored."""
        self.is_taken = not self.is_given_up
        return self.is_taken

    def settle(self, outcome: Outcome | Exception) -> None:
        if self.answer.done():
            return
        if isinstance(outcome, Acceptance):
            self.answer.set_result(outcome)
        else:
            self.answer.set_exception(outcome)


class Intake:
    """One process's way of accepting jobs: a queue and the writers that empty it in batches."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(WAITING_LIMIT)
        self._tasks: list[asyncio.Task[None]] = []
        self.guards = Guards(pool)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep_writing()) for _ in range(WRITERS)]
        self._tasks.append(asyncio.create_task(self.guards.run()))

    async def close(self) -> None:
        """Write what is waiting, as far as it can be written in time, then stop."""
        try:
            await within(ACCEPT_SECONDS, self._queue.join())
        except TimeoutError:
            log.warning("intake.closed_unwritten", jobs=self._queue.qsize())
        await self.guards.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def accept(self, job: NewJob, *, within_seconds: float = ACCEPT_SECONDS) -> Acceptance:
        """Store a job; returns once it would survive a crash.

        Raises KeyReused, Unavailable, Unconfirmed, or what the price list says against it.
        """
        now = asyncio.get_running_loop().time()
        until, answered_until = now + within_seconds, now + min(ANSWER_SECONDS, within_seconds)
        while True:
            try:
                return await self._accept(job, until)
            except StillAnswering:
                if asyncio.get_running_loop().time() > answered_until:
                    raise
                await _refuse_if_abandoned(job)
                await asyncio.sleep(ANSWER_STEP_SECONDS)

    async def _accept(self, job: NewJob, until: float) -> Acceptance:
        waiting = _Waiting(job)
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise Unavailable(
                f"{WAITING_LIMIT} jobs wait to be stored: send this one again in a moment",
                code="intake_full",
            ) from None
        left = max(0.0, until - asyncio.get_running_loop().time())
        await asyncio.wait({waiting.answer}, timeout=left)
        if waiting.answer.done():
            return waiting.answer.result()
        waiting.is_given_up = True
        if waiting.is_taken:
            raise Unconfirmed
        raise Unavailable(
            "the job's turn to be stored did not come in time; it was not stored: send the "
            "request again in a moment",
            code="intake_slow",
        )

    async def _keep_writing(self) -> None:
        """A writer that ends by an error begins again: without writers nothing is accepted."""
        while True:
            try:
                await self._write()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                log.exception("intake.writer_ended")
            except Exception:
                log.exception("intake.writer_ended")
            await asyncio.sleep(RESTART_SECONDS)

    async def _write(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < BATCH_LIMIT and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                for part in _without_shared_keys([item for item in batch if item.take()]):
                    await self._write_batch(part)
            finally:
                for waiting in batch:
                    waiting.settle(Unconfirmed())
                    self._queue.task_done()

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        """Store a batch; when one of its jobs spoils it, store them one by one."""
        is_committing = False
        try:
            async with transaction_within(self._pool, BATCH_SECONDS) as connection:
                outcomes = await accept_batch(connection, [waiting.job for waiting in batch])
                faultpoint("intake.before_commit")
                is_committing = True
        except Exception as error:
            if is_committing and not _is_refusal(error):
                log.warning("intake.commit_unknown", jobs=len(batch), error=type(error).__name__)
                await self._settle_after_trouble(batch)
            else:
                await self._settle_unstored(batch, error)
        else:
            faultpoint("intake.committed")
            for waiting, outcome in zip(batch, outcomes, strict=True):
                waiting.settle(outcome)

    async def _settle_unstored(self, batch: list[_Waiting], error: Exception) -> None:
        """The transaction was rolled back: nothing of the batch is stored."""
        is_deadlock = isinstance(error, asyncpg.DeadlockDetectedError)
        if isinstance(error, CONNECTION_TROUBLE) and not is_deadlock:
            log.warning("intake.database_lost", jobs=len(batch), error=type(error).__name__)
            for waiting in batch:
                waiting.settle(_not_stored(error))
        elif len(batch) == 1:
            log.error("intake.job_refused", job_id=str(batch[0].job.id), exc_info=error)
            batch[0].settle(_not_stored(error) if is_deadlock else error)
        else:
            for waiting in batch:
                if not waiting.is_given_up:
                    await self._write_batch([waiting])

    async def _settle_after_trouble(self, batch: list[_Waiting]) -> None:
        """The connection broke: the commit may have come through, and then the jobs are there."""
        found = await self._find_stored([waiting.job.id for waiting in batch])
        for waiting in batch:
            seen = found.get(waiting.job.id)
            waiting.settle(Unconfirmed() if seen is None else stored(waiting.job, seen))

    async def _find_stored(self, job_ids: list[UUID]) -> dict[UUID, Seen]:
        loop = asyncio.get_running_loop()
        until = loop.time() + LOOK_UP_SECONDS
        while (left := until - loop.time()) > 0:
            try:
                return await within(left, find_stored(self._pool, job_ids))
            except CONNECTION_TROUBLE:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return {}


async def _refuse_if_abandoned(job: NewJob) -> None:
    """The equal create that is being answered is this one, sent again by a client that left."""
    if job.idempotency is not None and await job.idempotency.is_left():
        raise Abandoned("the client has left and sent its request again")


def _is_refusal(error: Exception) -> bool:
    """Whether Postgres itself refused the commit, and so has stored nothing."""
    return isinstance(error, asyncpg.PostgresError) and not isinstance(error, CONNECTION_TROUBLE)


def _not_stored(error: Exception) -> Unavailable:
    trouble = describe_trouble(error)
    return Unavailable(f"the job was not stored: {trouble.message}", code=trouble.code)


def _note_seen(answer: asyncio.Future[Acceptance]) -> None:
    """A caller may be gone by then: its error is no news for the log."""
    if not answer.cancelled():
        answer.exception()


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
