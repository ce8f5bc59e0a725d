"""What a restored database does with the jobs that its backup had on their way."""

from app.jobs.core.restored import RESTORED_CODE, RESTORED_DETAIL
from app.kit.postgres.database import Connection


async def hold_jobs(connection: Connection) -> int:
    """Keep every job from being sent again before a person says so; returns how many wait.

    Queued ones wait until they expire. Of those further on the attempt is marked: what it made is
    still found and kept, and only if it comes to nothing they wait as well. What was noted of
    jobs that their account refused is forgotten, for they would be let go by it.
    """
    held: int = await connection.fetchval(_HOLD_QUEUED, RESTORED_CODE, RESTORED_DETAIL)
    await connection.execute(_MARK_ATTEMPTS, RESTORED_CODE)
    await connection.execute("update account_suspicions set suspects = '[]'")
    return held


async def end_leases(connection: Connection) -> None:
    """Nobody of those who held a job when the backup was made is at work on it any more."""
    await connection.execute(
        "update job_runs set lease_expires_at = now() where lease_expires_at > now()"
    )


_HOLD_QUEUED = """
with held as (
    update job_runs set due_at = expires_at, attention_code = $1, attention_since = now(),
        attention_detail = $2
    where status = 'queued' returning job_id
),
story as (
    insert into job_events (at, job_id, type, detail)
    select now(), job_id, 'job.attention', jsonb_build_object('code', $1::text, 'detail', $2::text)
    from held
)
select count(*) from held
"""

_MARK_ATTEMPTS = """
update attempts set error_code = $1 from job_runs as runs
where runs.job_id = attempts.job_id and runs.attempt = attempts.number
    and runs.status in ('submitting', 'running')
"""
