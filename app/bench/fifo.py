"""The yardstick of claims: the oldest job of all, in one statement without bookkeeping."""

from dataclasses import dataclass
from uuid import UUID

from app.bench.rig.lane import Lane, NothingClaimed
from app.bench.rig.loads import MODEL
from app.jobs.lifecycle import Fence
from app.kit.postgres.database import Connection

FIFO_INDEX = "create index bench_fifo on job_runs (model, job_id) where status = 'queued'"


@dataclass(frozen=True, slots=True)
class FifoLane:
    """Claims by job id, on a queue with FIFO_INDEX."""

    lane: Lane

    async def claim(self, connection: Connection) -> Fence:
        job_id: UUID | None = await connection.fetchval(
            _CLAIM, MODEL, self.lane.account_id, self.lane.lane_id
        )
        if job_id is None:
            raise NothingClaimed("the queue is empty")
        return Fence(job_id, 1)


_CLAIM = """
with head as materialized (
    select job_id from job_runs where status = 'queued' and model = $1
    order by job_id limit 1 for update skip locked
)
update job_runs set status = 'submitting', attempt = 1, account_id = $2, lane_id = $3, slot = 0
from head where job_runs.job_id = head.job_id
returning job_runs.job_id
"""
