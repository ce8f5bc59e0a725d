"""The story of a job, as it is written: each event wakes whoever waits for that job."""

from typing import Any
from uuid import UUID

from app.kit.postgres.database import Connection

JOB_CHANGED = "dashgate_job_changed"
"""Carries the id of a job that has changed."""
QUEUE_CHANGED = "dashgate_queue_changed"
"""A job has been queued, or a slot has become free."""
PICTURES_WAITING = "dashgate_pictures_waiting"
"""A task has ended; its pictures are to be kept."""


async def write_event(
    connection: Connection, job_id: UUID, kind: str, detail: dict[str, Any]
) -> None:
    """Append to the job's story; at the commit whoever waits for the job wakes."""
    await connection.execute(_WRITE_EVENT, job_id, kind, detail, JOB_CHANGED, str(job_id))


async def wake(connection: Connection, channel: str) -> None:
    """Notify a channel at the commit: an optimisation, the sweeps are the truth."""
    await connection.execute("select pg_notify($1, '')", channel)


_WRITE_EVENT = """
with written as (insert into job_events (at, job_id, type, detail) values (now(), $1, $2, $3))
select pg_notify($4, $5)
"""
