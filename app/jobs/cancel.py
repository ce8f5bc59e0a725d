"""The wish to stop a job: free while it is queued, heeded while it can be, losing no picture."""

from datetime import timedelta
from enum import Enum
from uuid import UUID

from app.jobs.core.state import CancelAsked, Rules
from app.jobs.engine.judge import Judge, Witness
from app.jobs.lifecycle import Action, JobStatus, Stop
from app.jobs.moves import StaleRun
from app.jobs.store import get_job
from app.kit.postgres.database import Pool

WISH_RULES = Rules(settle=timedelta(0))
"""A wish is heeded whatever the engine's patience is."""


class CancelResult(Enum):
    """What became of the wish."""

    CANCELED = "canceled"
    """The job has ended free."""
    ASKED = "asked"
    """It is on its way or upstream: it stops if it still can."""
    TOO_LATE = "too_late"
    """It has ended otherwise, or its pictures are being kept."""


async def cancel_job(
    pool: Pool, job_id: UUID, *, team_id: UUID | None, witness: Witness | None = None
) -> CancelResult:
    """Cancel a job, or note that it should stop; raises NotFound for none of that team's."""
    await get_job(pool, job_id, team_id=team_id)
    await _hear(pool, job_id, CancelAsked(), witness)
    job = await get_job(pool, job_id, team_id=team_id)
    if job.status is JobStatus.CANCELED:
        return CancelResult.CANCELED
    is_stopping = job.status in (JobStatus.SUBMITTING, JobStatus.RUNNING)
    return CancelResult.ASKED if is_stopping else CancelResult.TOO_LATE


async def cancel_queued_job(pool: Pool, job_id: UUID, *, team_id: UUID | None) -> bool:
    """Cancel a job that nobody has begun to submit; False when it is too late, or not theirs."""
    is_theirs = await pool.fetchval(
        "select true from job_runs where job_id = $1 and ($2::uuid is null or team_id = $2)",
        job_id,
        team_id,
    )
    if not is_theirs:
        return False
    actions = await _hear(pool, job_id, CancelAsked(only_queued=True))
    return any(isinstance(action, Stop) for action in actions)


async def _hear(
    pool: Pool, job_id: UUID, wish: CancelAsked, witness: Witness | None = None
) -> tuple[Action, ...]:
    try:
        return await Judge(pool, WISH_RULES).hear(job_id, wish, witness=witness)
    except StaleRun:
        return ()
