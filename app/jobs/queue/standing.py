"""Where a queued job stands: the facts that its position and its forecast are made of."""

from dataclasses import dataclass
from uuid import UUID

from app.accounts.run_times import RunTimes
from app.jobs.queue.forecast import (
    LINE_LIMIT,
    RANK_LIMIT,
    Eta,
    Hold,
    Line,
    Room,
    Waiting,
    find_hold,
    find_position,
    find_tag,
    forecast,
)
from app.kit.postgres.database import Connection, Pool, Record

SAMPLE_COUNT = 5
"""Of a team's first jobs, from which the images of all are guessed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A queued job's place: how many go before it, what holds it, when it may have ended."""

    position: int
    held_by: Hold
    eta: Eta | None


async def find_place(pool: Pool, job_id: UUID) -> Place | None:
    """None when the job does not wait. Its cost grows with the place, not with the queue."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(_FIND_STORED, RANK_LIMIT, SAMPLE_COUNT, job_id)
        return None if row is None else await _judge(connection, row)


async def foresee_place(
    pool: Pool, team_id: UUID, model: str, *, head_start_seconds: float
) -> Place:
    """The place that a team's job would have if it were accepted now."""
    async with pool.acquire() as connection:
        row = await connection.fetchrow(
            _FIND_COMING, RANK_LIMIT, SAMPLE_COUNT, team_id, model, head_start_seconds
        )
        assert row is not None
        return await _judge(connection, row)


async def _judge(connection: Connection, row: Record) -> Place:
    waiting = _to_waiting(row)
    clock: float = row["clock"]
    others = await _list_others(connection, row, clock)
    rooms = await _list_rooms(connection, row["model"])
    position = find_position(waiting.line, others, clock)
    return Place(position, find_hold(waiting, rooms), forecast(waiting, rooms, position))


async def _list_others(connection: Connection, own: Record, clock: float) -> list[Line]:
    if own["weight"] == 0:
        return []
    tag = find_tag(_to_line(own), clock)
    rows = await connection.fetch(
        _LIST_OTHERS, own["model"], own["team_id"], clock, tag, LINE_LIMIT, SAMPLE_COUNT
    )
    return [_to_line(row) for row in rows]


async def _list_rooms(connection: Connection, model: str) -> list[Room]:
    return [
        Room(
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
        for row in await connection.fetch(_LIST_ROOMS, model)
    ]


def _to_waiting(row: Record) -> Waiting:
    return Waiting(
        line=_to_line(row),
        delay_seconds=float(row["delay_seconds"]),
        team_max_running=row["max_running"],
        team_out_count=row["out_count"],
    )


def _to_line(row: Record) -> Line:
    return Line(
        float(row["weight"]), row["virtual_time"], row["job_count"], float(row["images_per_job"])
    )


_STORED = "(select * from job_runs where job_id = $3 and status = 'queued')"

_COMING = """(
    select $3::uuid as team_id, $4::text as model, now() as due_at,
        now() - make_interval(secs => $5) as rank_at,
        'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid as job_id
)"""

_FIND_OWN = """
select mine.model, mine.team_id, weight, max_running,
    coalesce(team_queues.virtual_time, 0) as virtual_time,
    coalesce(queue_clocks.virtual_time, 0) as clock,
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
    ) as job_count,
    coalesce((
        select avg(n) from (
            select n from job_runs as others
            where status = 'queued' and others.model = mine.model
                and others.team_id = mine.team_id
            order by rank_at, job_id limit $2
        ) as first
    ), 1) as images_per_job
from {mine} as mine
join teams on teams.id = mine.team_id
left join queue_clocks on queue_clocks.model = mine.model
left join team_queues on team_queues.model = mine.model and team_queues.team_id = mine.team_id
"""
_FIND_STORED = _FIND_OWN.format(mine=_STORED)
_FIND_COMING = _FIND_OWN.format(mine=_COMING)

# Of each other team no more jobs are looked at than its share until the tag has room for, and
# those few that show how many images they ask for. One walk over the index tells both.
_LIST_OTHERS = """
select weight, virtual_time, images_per_job, least(job_count, share) as job_count
from team_queues join teams on teams.id = team_queues.team_id
cross join lateral (
    select least(
        $5::int, 1 + ($4::float8 - greatest(virtual_time, $3::float8)) * weight
    )::int as share
) as room
cross join lateral (
    select count(*) as job_count, avg(n) as images_per_job from (
        select n from job_runs
        where status = 'queued' and model = $1 and team_id = team_queues.team_id
        order by rank_at, job_id limit greatest(share, $6)
    ) as first
) as line
where team_queues.model = $1 and team_queues.team_id <> $2 and is_waiting and weight > 0
    and greatest(virtual_time, $3::float8) <= $4::float8 and images_per_job is not null
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
