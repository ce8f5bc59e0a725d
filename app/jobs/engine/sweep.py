"""The chores that time brings: queued jobs expire, old keys and files go, months are opened."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias
from uuid import UUID

import structlog

from app.billing.ledger import CannotSettle
from app.jobs.core.state import Ticked
from app.jobs.engine.judge import Judge
from app.jobs.moves import StaleRun
from app.jobs.queue.clocks import TEAMS_IN_QUEUE, mend_queues
from app.jobs.record import end_expired
from app.kit.background.chores import Apart, count_failures
from app.kit.postgres.database import Pool, UniqueViolation, transaction
from app.media.files.expiry import apart_files, delete_expired_files
from app.media.store import PictureStore

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BATCH = 200
EXPIRY_BATCH = 500
MONTHS_AHEAD = 3
ACCOUNT_STORY_DAYS = 90

Chore: TypeAlias = Callable[[], Coroutine[Any, Any, bool]]


async def expire_queued(judge: Judge) -> bool:
    """End queued jobs whose time is over; says whether there may be more."""
    due = await judge.pool.fetch(_LIST_EXPIRED, EXPIRY_BATCH)
    ended = await _expire_unsent(judge.pool, [row["job_id"] for row in due if not row["attempt"]])
    for row in due:
        if row["attempt"]:
            ended += await _expire_sent(judge, row["job_id"])
    return len(due) >= EXPIRY_BATCH and ended > 0


async def _expire_unsent(pool: Pool, job_ids: Sequence[UUID]) -> int:
    """In one transaction; one that the book contradicts is found by halves and left alone."""
    if not job_ids:
        return 0
    try:
        async with transaction(pool) as connection:
            return await end_expired(connection, job_ids)
    except (CannotSettle, UniqueViolation) as error:
        if len(job_ids) == 1:
            log.error("expire.refused", job_id=str(job_ids[0]), error=str(error))
            return 0
    half = len(job_ids) // 2
    return await _expire_unsent(pool, job_ids[:half]) + await _expire_unsent(pool, job_ids[half:])


async def _expire_sent(judge: Judge, job_id: UUID) -> int:
    try:
        return len(await judge.hear(job_id, Ticked()))
    except StaleRun:
        return 0
    except (CannotSettle, UniqueViolation) as error:
        log.error("expire.refused", job_id=str(job_id), error=str(error))
        return 0


async def mend(pool: Pool) -> bool:
    """Set right what races have left wrong in the marks of the fair queue."""
    await mend_queues(pool)
    return False


class Upkeep:
    """What is tidied up, each chore for itself; those that fail rest, and are counted."""

    def __init__(self, pool: Pool, store: PictureStore) -> None:
        self._pool = pool
        self._store = store
        self._chores = Apart("upkeep")
        self._files = apart_files()

    async def tidy(self) -> bool:
        """Do every chore that does not rest; says whether there may be more."""
        chores: tuple[Chore, ...] = (
            self._open_months,
            self._delete_keys,
            self._delete_stories,
            self._delete_files,
            self._sweep_store,
        )
        try:
            return any(await self._chores.each(chores, _run, key=_name))
        finally:
            await count_failures(self._pool, self._chores, self._files)

    async def _open_months(self) -> bool:
        await self._pool.execute("select ensure_partitions('job_events', now(), $1)", MONTHS_AHEAD)
        return False

    async def _delete_keys(self) -> bool:
        keys = await self._pool.fetch(
            """
            delete from idempotency_keys where ctid = any(array(
                select ctid from idempotency_keys where expires_at < now() limit $1
            )) returning 1
            """,
            BATCH,
        )
        return len(keys) == BATCH

    async def _delete_stories(self) -> bool:
        await self._pool.execute(
            "delete from account_events where at < now() - make_interval(days => $1)",
            ACCOUNT_STORY_DAYS,
        )
        return False

    async def _delete_files(self) -> bool:
        deleted = await delete_expired_files(
            self._pool, self._store, limit=BATCH, apart=self._files
        )
        return deleted >= BATCH

    async def _sweep_store(self) -> bool:
        await self._store.sweep_leftovers()
        return False


async def _run(chore: Chore) -> bool:
    return await chore()


def _name(chore: Chore) -> str:
    return chore.__name__.strip("_")


# Queue by queue, from the index that the claim's last resort goes by.
_LIST_EXPIRED = f"""
with {TEAMS_IN_QUEUE}
select job_id, attempt from in_queue cross join lateral (
    select job_id, attempt from job_runs
    where status = 'queued' and model = in_queue.model and team_id = in_queue.team_id
        and expires_at <= now()
    order by expires_at limit $1
) as late
limit $1
"""
