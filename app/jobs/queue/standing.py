"""Where a queued job stands: the facts that its position and its forecast are made of."""

from dataclasses import dataclass, replace
from uuid import UUID

from app.jobs.queue.board import Board, Figures
from app.jobs.queue.forecast import (
    RANK_LIMIT,
    Eta,
    Hold,
    Line,
    Waiting,
    find_hold,
    find_position,
    forecast,
)
from app.kit.postgres.database import Record


@dataclass(frozen=True, slots=True)
class Place:
    """A queued job's place: how many go before it, what holds it, when it may have ended."""

    position: int
    held_by: Hold
    eta: Eta | None


async def find_place(board: Board, job_id: UUID) -> Place | None:
    """None when the job does not wait. Its own cost grows with its place in its team's line."""
    row = await board.pool.fetchrow(_FIND_STORED, RANK_LIMIT, job_id)
    return None if row is None else _judge(row, await board.look(row["model"]))


async def foresee_place(
    board: Board, team_id: UUID, model: str, *, head_start_seconds: float
) -> Place:
    """The place that a team's job would have if it were accepted now."""
    row = await board.pool.fetchrow(_FIND_COMING, RANK_LIMIT, team_id, model, head_start_seconds)
    assert row is not None
    return _judge(row, await board.look(model))


def _judge(own: Record, figures: Figures) -> Place:
    team_id: UUID = own["team_id"]
    # A team without a waiting job has no line yet; its clock is its own.
    line = figures.lines.get(team_id) or Line(0.0, own["virtual_time"], 0, 1.0)
    waiting = Waiting(
        line=replace(line, weight=float(own["weight"]), job_count=own["job_count"]),
        delay_seconds=float(own["delay_seconds"]),
        team_max_running=own["max_running"],
        team_out_count=own["out_count"],
    )
    others = [
        each for other_id, each in figures.lines.items() if other_id != team_id and each.weight > 0
    ]
    position = find_position(waiting.line, others, figures.clock)
    return Place(
        position,
        find_hold(waiting, figures.rooms),
        forecast(waiting, figures.rooms, position),
    )


_STORED = "(select * from job_runs where job_id = $2 and status = 'queued')"

_COMING = """(
    select $2::uuid as team_id, $3::text as model, now() as due_at,
        now() - make_interval(secs => $4) as rank_at,
        'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid as job_id
)"""

# Each count walks the index of the queue, or of what is out, alone.
_FIND_OWN = """
select mine.model, mine.team_id, weight, max_running,
    coalesce(team_queues.virtual_time, 0) as virtual_time,
    greatest(extract(epoch from mine.due_at - now()), 0) as delay_seconds,
    (
        select count(*) from job_runs as theirs
        where theirs.model = mine.model and theirs.team_id = mine.team_id
            and theirs.slot is not null
    ) as out_count,
    (
        select count(*) from (
            select from job_runs as others
            where status = 'queued' and others.model = mine.model
                and others.team_id = mine.team_id
                and (others.rank_at, others.job_id) < (mine.rank_at, mine.job_id)
            limit $1
        ) as before
    ) as job_count
from {mine} as mine
join teams on teams.id = mine.team_id
left join team_queues on team_queues.model = mine.model and team_queues.team_id = mine.team_id
"""
_FIND_STORED = _FIND_OWN.format(mine=_STORED)
_FIND_COMING = _FIND_OWN.format(mine=_COMING)
