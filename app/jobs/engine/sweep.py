"""The chores that time brings: queued jobs expire, old keys and files go, months are opened."""

from app.jobs.core.state import Ticked
from app.jobs.engine.judge import Judge
from app.jobs.moves import StaleRun
from app.jobs.queue.clocks import mend_queues
from app.kit.postgres.database import Pool
from app.media.files import delete_expired_files
from app.media.store import PictureStore

BATCH = 200
MONTHS_AHEAD = 3
ACCOUNT_STORY_DAYS = 90


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


async def tidy(pool: Pool, store: PictureStore) -> bool:
    """Delete what has served its time; says whether there may be more."""
    keys = await pool.fetch(
        """
        delete from idempotency_keys where ctid = any(array(
            select ctid from idempotency_keys where expires_at < now() limit $1
        )) returning 1
        """,
        BATCH,
    )
    await pool.execute(
        "delete from account_events where at < now() - make_interval(days => $1)",
        ACCOUNT_STORY_DAYS,
    )
    files = await delete_expired_files(pool, store, limit=BATCH)
    await store.sweep_leftovers()
    await pool.execute("select ensure_partitions('job_events', now(), $1)", MONTHS_AHEAD)
    return len(keys) == BATCH or files == BATCH
