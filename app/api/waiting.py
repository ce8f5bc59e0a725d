"""Holding an answer until a job has ended. Source: RFC 7240, preference `wait`."""

import asyncio
import re
from uuid import UUID

from app.jobs.events import JOB_CHANGED
from app.jobs.store import JobRecord, get_job
from app.kit.loop import wait_for_any
from app.wiring import Doors

WAIT_LIMIT_SECONDS = 60.0
SWEEP_SECONDS = 2.0

_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d+(?:\.\d+)?)")


def read_wait_seconds(prefer: str | None) -> float:
    """The seconds that the caller would wait, capped; 0 without the preference."""
    found = _WAIT.search(prefer or "")
    return min(float(found[1]), WAIT_LIMIT_SECONDS) if found else 0.0


async def wait_for_end(
    doors: Doors, job_id: UUID, *, team_id: UUID | None, seconds: float
) -> JobRecord:
    """The job when it has ended, the time is over, or the process stops; raises NotFound."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    with doors.base.listener.subscribed(JOB_CHANGED, str(job_id)) as changed:
        while True:
            changed.clear()
            job = await get_job(doors.base.reads, job_id, team_id=team_id)
            left = deadline - loop.time()
            if job.status.is_final or left <= 0 or doors.stopping.is_set():
                return job
            await wait_for_any(changed, doors.stopping, seconds=min(left, SWEEP_SECONDS))
