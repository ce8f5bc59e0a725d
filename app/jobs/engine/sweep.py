"""The chores that time brings: queued jobs expire, old keys and files go, months are opened."""

import structlog

from app.jobs.lifecycle import Fence, JobStatus
from app.jobs.moves import StaleRun
from app.jobs.record import end
from app.kit.postgres.database import Pool, transaction
from app.media.files import delete_expired_files
from app.media.store import PictureStore

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

BATCH = 200
MONTHS_AHEAD = 3
EXPIRED_ERROR = ("expired", "the job was not started before its time was over")


async def expire_queued(pool: Pool) -> bool:
    """End queued jobs whose time is over; says whether there may be more."""
    rows = await pool.fetch(
        "select job_id, attempt from job_runs where status = 'queued' and expires_at <= now()"
        " limit $1",
        BATCH,
    )
    for row in rows:
        try:
            async with transaction(pool) as connection:
                fence = Fence(row["job_id"], row["attempt"])
                await end(connection, fence, JobStatus.EXPIRED, error=EXPIRED_ERROR)
        except StaleRun:
            continue
        log.info("job.expired", job_id=str(row["job_id"]))
    return len(rows) == BATCH


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
    files = await delete_expired_files(pool, store, limit=BATCH)
    await store.sweep_leftovers()
    await pool.execute("select ensure_partitions('job_events', now(), $1)", MONTHS_AHEAD)
    return len(keys) == BATCH or files == BATCH
