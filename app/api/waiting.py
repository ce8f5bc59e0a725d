"""Holding an answer until a job has ended. Source: RFC 7240, preference `wait`."""

import re
from uuid import UUID

from app.jobs.store import JobRecord, get_job
from app.kit.deadlines import within
from app.teams.authenticate import Caller
from app.wiring import Doors

WAIT_LIMIT_SECONDS = 60.0
READ_BACK_SECONDS = 2.0
"""A job just accepted is answered as acceptance saw it when reading it takes longer."""

_WAIT = re.compile(r"(?:^|[,;\s])wait=([0-9]+(?:\.[0-9]+)?)(?=$|[,;\s])")


def read_wait_seconds(prefer: str | None) -> float:
    """The seconds that the caller would wait, capped; 0 without the preference."""
    found = _WAIT.search(prefer or "")
    return min(float(found[1]), WAIT_LIMIT_SECONDS) if found else 0.0


async def wait_for_end(
    doors: Doors, job_id: UUID, caller: Caller, *, seconds: float
) -> tuple[JobRecord, bool]:
    """The job when it has ended, the time is over, or the process stops; raises NotFound.

    With it whether the answer was held: beyond so many who wait it comes at once.
    """
    pool, team_id = doors.base.reads, caller.team_id
    job = await get_job(pool, job_id, team_id=team_id)
    if seconds <= 0:
        return job, False
    if job.status.is_final:
        return job, True
    was_held = await doors.endings.wait(job_id, team_id, seconds=seconds, stopping=doors.stopping)
    return await get_job(pool, job_id, team_id=team_id), was_held


async def wait_for_accepted(
    doors: Doors, job_id: UUID, caller: Caller, *, seconds: float
) -> tuple[JobRecord, bool]:
    """The same for a job that is known to be stored: a lost database does not cut the wait."""
    was_held = seconds > 0 and await doors.endings.wait(
        job_id, caller.team_id, seconds=seconds, stopping=doors.stopping
    )
    reading = get_job(doors.base.reads, job_id, team_id=caller.team_id)
    return await within(READ_BACK_SECONDS, reading), was_held
