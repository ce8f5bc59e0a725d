"""The end of files: marked, then deleted from the store, then forgotten."""

from datetime import timedelta

from app.kit.background.chores import Apart
from app.kit.postgres.database import CONNECTION_TROUBLE, Connection, Pool, transaction
from app.media.store import PictureStore, StoreUnavailable

DELETE_AFTER = timedelta(hours=1)
"""Nothing that found a file still valid is at work on it any more by then."""
LONGER_FOR_A_JOB = timedelta(days=1)


async def delete_expired_files(
    pool: Pool, store: PictureStore, *, limit: int, apart: Apart | None = None
) -> int:
    """Delete files that expired an hour ago, and what a crash left; returns how many.

    Marked first, under a lock that excludes whoever is about to use them; then each object goes,
    then its rows. A crash between leaves marked rows, which the next sweep takes up. An object
    that cannot be deleted rests in `apart`; raises StoreUnavailable when none can.
    """
    async with transaction(pool) as connection:
        beside_count = await _mark_expired(connection, limit)
    apart = apart or apart_files()
    rows = await pool.fetch(_LEAVING, limit, apart.resting())

    async def delete(store_key: str) -> int:
        await store.delete(store_key)
        done = await pool.execute(_DELETE_LEAVING, store_key)
        return int(done.rpartition(" ")[2])

    return beside_count + sum(await apart.each([row["store_key"] for row in rows], delete))


def apart_files() -> Apart:
    """The memory of which files could not be deleted."""
    return Apart("expired files", shared_troubles=(*CONNECTION_TROUBLE, StoreUnavailable))


async def _mark_expired(connection: Connection, limit: int) -> int:
    """Returns how many rows went at once, for others name their objects still.

    Each step sees what was committed before the locks were had: they are statements apart.
    """
    rows = await connection.fetch(_LOCK_EXPIRED, limit, DELETE_AFTER)
    if not rows:
        return 0
    file_ids = [row["id"] for row in rows]
    await connection.execute(_SPARE_FOR_JOBS, file_ids, LONGER_FOR_A_JOB)
    deleted = await connection.execute(_MARK, file_ids, DELETE_AFTER)
    return int(deleted.rpartition(" ")[2])


_LOCK_EXPIRED = """
select id from files where expires_at < now() - $2::interval and state <> 'leaving'
order by expires_at limit $1 for update skip locked
"""

_SPARE_FOR_JOBS = """
update files set expires_at = now() + $2::interval
where id = any($1) and store_key in (
    select image ->> 'store_key' from job_runs join jobs on jobs.id = job_runs.job_id,
        jsonb_array_elements(jobs.images) as image
    where job_runs.expires_at < now() and jsonb_typeof(jobs.images) = 'array'
)
"""
"""A job that a person lets go on after its time still has its inputs."""

_LEAVING = """
select store_key from files where state = 'leaving' and store_key <> all($2::text[])
group by store_key order by min(expires_at) limit $1
"""

_DELETE_LEAVING = "delete from files where store_key = $1 and state = 'leaving'"

_MARK = """
with due as (
    select id, store_key from files where id = any($1) and expires_at < now() - $2::interval
), kept_by_others as (
    select due.id from due where exists (
        select from files as others
        where others.store_key = due.store_key and others.id not in (select id from due)
    )
), marked as (
    update files set state = 'leaving'
    where id in (select id from due) and id not in (select id from kept_by_others)
)
delete from files where id in (select id from kept_by_others)
"""
