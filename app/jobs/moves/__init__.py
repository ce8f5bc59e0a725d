"""Moves of an active run, each fenced: row, attempt and event in the caller's transaction.

A write finds its run by (job, attempt, status): zero rows means that another hand was first, and
StaleRun tells the caller to drop its news.
"""

from app.jobs.lifecycle import Fence, JobStatus, sources_of
from app.kit.postgres.database import Connection, Record


class StaleRun(Exception):
    """The run has moved on under another hand; what was to be written is dropped."""


async def move_run(
    connection: Connection, fence: Fence, target: JobStatus, changes: str, *values: object
) -> Record:
    """Move a run to a status that the lifecycle allows; `changes` count values from $5 on.

    Raises StaleRun.
    """
    row = await connection.fetchrow(
        f"""
        update job_runs set status = $4, {changes}
        from (select account_id as old_account_id from job_runs where job_id = $1) as was
        where job_id = $1 and attempt = $2 and status = any($3)
        returning model, team_id, n, old_account_id, expires_at
        """,
        fence.job_id,
        fence.attempt,
        list(sources_of(target)),
        target,
        *values,
    )
    if row is None:
        raise StaleRun
    return row
