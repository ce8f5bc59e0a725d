"""The story of a job, as it is written: each event wakes whoever waits for that job."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app.kit.postgres.database import Connection, Pool

JOB_CHANGED = "dashgate_job_changed"
"""Carries the id of a job that has changed."""
QUEUE_CHANGED = "dashgate_queue_changed"
"""A slot has become free, a job has come back; with ACCEPTED as payload, new jobs are queued."""
ACCEPTED = "accepted"
"""Of no use to a lane that could take no job: it need not wake."""
PICTURES_WAITING = "dashgate_pictures_waiting"
"""A task has ended; its pictures are to be kept."""
TASK_HINTED = "dashgate_task_hinted"
"""Carries the id of an account, one of whose tasks is said to have ended: a reason to look."""
CHANNELS = (JOB_CHANGED, QUEUE_CHANGED, PICTURES_WAITING, TASK_HINTED)


async def write_event(
    connection: Connection, job_id: UUID, kind: str, detail: dict[str, Any]
) -> None:
    """Append to the job's story; at the commit whoever waits for the job wakes."""
    await write_events(connection, [job_id], kind, detail)


async def write_events(
    connection: Connection, job_ids: Sequence[UUID], kind: str, detail: dict[str, Any]
) -> None:
    """The same of several jobs."""
    await connection.execute(_WRITE_EVENTS, list(job_ids), kind, detail, JOB_CHANGED)


async def wake(connection: Connection, channel: str) -> None:
    """Notify a channel at the commit: an optimisation, the sweeps are the truth."""
    await connection.execute("select pg_notify($1, '')", channel)


async def hint_task(pool: Pool, task_id: str) -> bool:
    """Wake the engine for a task that runs; False when no job runs under that upstream id."""
    return await pool.fetchrow(_HINT, TASK_HINTED, task_id) is not None


_WRITE_EVENTS = """
with written as (
    insert into job_events (at, job_id, type, detail)
    select now(), job_id, $2, $3 from unnest($1::uuid[]) as told (job_id)
)
select pg_notify($4, job_id::text) from unnest($1::uuid[]) as told (job_id)
"""

_HINT = """
select job_id, pg_notify($1, account_id::text) from job_runs
where upstream_task_id = $2 and status = 'running'
"""
