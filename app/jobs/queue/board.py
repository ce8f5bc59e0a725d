"""What the waiting jobs of a model share: each team's line, the clock, the accounts' room.

Whoever asks where a job stands reads them from here: they cost as much as the queue is long, and
are read once a second at most, whatever the number of readers of this process.
"""

import asyncio
import time
from dataclasses import dataclass
from uuid import UUID

from app.accounts.run_times import RunTimes
from app.jobs.queue.forecast import Line, Room
from app.kit.postgres.database import Connection, Pool, Record

FRESH_SECONDS = 1.0
COST_SHARE = 0.05
"""Of a queue so long that it takes longer to count, the figures grow older: this share of the
time at most is spent on reading them."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A model's queue at one moment."""

    clock: float
    lines: dict[UUID, Line]
    rooms: tuple[Room, ...]


@dataclass(frozen=True, slots=True)
class _Reading:
    figures: Figures
    fresh_until: float


class Board:
    """The figures of each model, shared by all readers."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._readings: dict[str, _Reading] = {}
        self._tasks: dict[str, asyncio.Task[Figures]] = {}

    async def look(self, model: str) -> Figures:
        """Figures at most FRESH_SECONDS old; those who ask meanwhile wait for one reading."""
        reading = self._readings.get(model)
        if reading is not None and time.monotonic() < reading.fresh_until:
            return reading.figures
        task = self._tasks.get(model)
        if task is None:
            task = self._tasks[model] = asyncio.create_task(self._read(model))
        # A reader that leaves takes the reading from nobody.
        return await asyncio.shield(task)

    async def _read(self, model: str) -> Figures:
        began = time.monotonic()
        try:
            async with self.pool.acquire() as connection:
                figures = await _read_figures(connection, model)
        finally:
            del self._tasks[model]
        cost = time.monotonic() - began
        self._readings[model] = _Reading(figures, began + max(FRESH_SECONDS, cost / COST_SHARE))
        return figures


async def _read_figures(connection: Connection, model: str) -> Figures:
    clock = await connection.fetchval(
        "select virtual_time from queue_clocks where model = $1", model
    )
    lines = await connection.fetch(_LIST_LINES, model)
    rooms = await connection.fetch(_LIST_ROOMS, model)
    return Figures(
        clock=clock or 0.0,
        lines={row["team_id"]: _to_line(row) for row in lines},
        rooms=tuple(_to_room(row) for row in rooms),
    )


def _to_line(row: Record) -> Line:
    return Line(float(row["weight"]), row["virtual_time"], row["job_count"], row["images_per_job"])


def _to_room(row: Record) -> Room:
    return Room(
        max_running=row["max_running"],
        slot_count=max(row["max_running"] + row["priming"], 1),
        out_count=row["out_count"],
        submits_per_second=row["submits_per_second"],
        is_between_turns=row["is_between_turns"],
        paused_seconds=float(row["paused_seconds"]),
        run_times=RunTimes(
            row["service_count"], row["service_log_mean"], row["service_log_variance"]
        ),
    )


# The index of the queue holds all that is counted.
_LIST_LINES = """
select line.team_id, line.job_count, line.images_per_job, weight,
    coalesce(virtual_time, 0) as virtual_time
from (
    select team_id, count(*) as job_count, avg(n)::float8 as images_per_job from job_runs
    where status = 'queued' and model = $1 group by team_id
) as line
join teams on teams.id = line.team_id
left join team_queues on team_queues.model = $1 and team_queues.team_id = line.team_id
"""

# A suspended account that may send its one job to see counts as paused all the same.
_LIST_ROOMS = """
select max_running, priming, service_count, service_log_mean, service_log_variance,
    submit_rate * pace_share as submits_per_second,
    greatest(extract(epoch from paused_until - now()), is_suspended::int, 0) as paused_seconds,
    next_submit_at > now() or not bool_or(lane.is_free) as is_between_turns,
    (
        select count(*) from job_runs as theirs
        where theirs.account_id = accounts.id and theirs.model = $1 and theirs.slot is not null
    ) as out_count
from account_paces join accounts on accounts.id = account_id
cross join lateral (
    select not exists (
        select from job_runs where lane_id = lanes.id and status = 'submitting'
    ) as is_free
    from lanes where lanes.account_id = accounts.id and removed_at is null
) as lane
where account_paces.model = $1 and accounts.state = 'active'
group by accounts.id, account_paces.account_id, account_paces.model
"""
