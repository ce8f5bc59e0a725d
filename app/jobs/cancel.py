"""A client's wish to stop a job: free while it is queued."""

from uuid import UUID

from app.jobs.lifecycle import Fence, JobStatus
from app.jobs.moves import StaleRun
from app.jobs.record import end
from app.kit.postgres.database import Pool, transaction


async def cancel_queued_job(pool: Pool, job_id: UUID, *, team_id: UUID | None) -> bool:
    """Cancel a job that nobody has begun to submit; False when it is too late, or not theirs."""
    async with transaction(pool) as connection:
        attempt = await connection.fetchval(
            """
            select attempt from job_runs
            where job_id = $1 and ($2::uuid is null or team_id = $2) and status = 'queued'
            for update
            """,
            job_id,
            team_id,
        )
        if attempt is None:
            return False
        try:
            await end(connection, Fence(job_id, attempt), JobStatus.CANCELED)
        except StaleRun:
            return False
    return True
