"""What the gateway and the upstream each know of the same tasks, side by side."""

from dataclasses import dataclass
from datetime import datetime

from app.bench.rig.upstream import TaskTimes, Upstream
from app.kit.postgres.database import Pool


@dataclass(frozen=True, slots=True)
class SeenTask:
    """One job's task: the upstream's own times, and when the gateway meant and saw what."""

    team: str
    times: TaskTimes
    intended_at: datetime
    seen_at: datetime

    @property
    def delay_seconds(self) -> float:
        """From the task's end upstream until we knew of it."""
        return (self.seen_at - self.times.ended_at).total_seconds()

    @property
    def submit_seconds(self) -> float:
        """From our intent until the upstream had the task."""
        return (self.times.created_at - self.intended_at).total_seconds()


async def list_seen(pool: Pool, upstream: Upstream) -> list[SeenTask]:
    """Every task that brought its job pictures, in the order of their starts upstream."""
    times = await upstream.list_times()
    seen = [
        SeenTask(row["team"], times[task_id], row["intended_at"], row["seen_at"])
        for row in await pool.fetch(_LIST_SEEN)
        if (task_id := row["upstream_task_id"]) in times
    ]
    return sorted(seen, key=lambda task: task.times.started_at)


_LIST_SEEN = """
select teams.name as team, attempts.upstream_task_id, attempts.intended_at, seen.at as seen_at
from attempts
join jobs on jobs.id = attempts.job_id
join teams on teams.id = jobs.team_id
join job_events as seen on seen.job_id = jobs.id and seen.type = 'job.finalizing'
where attempts.upstream_task_id is not null
"""
