"""The chores that time brings: queued jobs expire, old keys and files go, months are opened."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from app.jobs.core.state import Ticked
from app.jobs.engine.judge import Judge
from app.jobs.moves import StaleRun
from app.jobs.queue.clocks import mend_queues
from app.kit.chores import Apart, count_failures
from app.kit.postgres.database import Pool
from app.media.files import apart_files, delete_expired_files
from app.media.store import PictureStore

BATCH = 200
MONTHS_AHEAD = 3
ACCOUNT_STORY_DAYS = 90

Chore: TypeAlias = Callable[[], Coroutine[Any, Any, bool]]


async def expire_queued(judge: Judge) -> bool:
    """End queued jobs whose time is over; says whether there may be more."""
    job_ids = [
        row["job_id"]
        for row in await judge.pool.fetch(
            "select job_id from job_runs where status = 'queued' and expires_at <= now() limit $1",
            BATCH,
        )
    ]
    for job_id in job_ids:
        try:
            await judge.hear(job_id, Ticked())
        except StaleRun:
            continue
    return len(job_ids) == BATCH


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
