"""The clocks of the fair queue: how far each team has used its share of a model."""

from uuid import UUID

from app.kit.postgres.database import Connection, Pool

MOST_IMAGES = 4
"""What one job costs at most."""


async def mark_waiting(connection: Connection, model: str, team_id: UUID) -> None:
    """Say that the team has a queued job of the model; locks nothing when that is known."""
    await connection.execute(_MARK_WAITING, model, team_id)


async def refund(connection: Connection, model: str, team_id: UUID, cost_images: int) -> None:
    """Give a team its share back for a job that went out and came back without fault."""
    await connection.execute(_REFUND, model, team_id, cost_images)


async def mend_queues(pool: Pool) -> None:
    """Make the marks agree with what is queued, and old charges with the weights of now.

    A mark may be wrong because it is set without a lock: a job can be committed just after its
    team's queue was found empty. Two statements, each a transaction: neither keeps a row locked
    while it waits for another.
    """
    await pool.execute(_MARK_MISSED)
    await pool.execute(_CLEAR_STALE, MOST_IMAGES)


def mark_from(source: str) -> str:
    """Two parts of a statement that mark the teams of `source` (model, team_id) as waiting.

    A mark that stands already costs a look-up and no lock. Who marks several does it in one
    order, so that two of them never wait for each other.
    """
    return f"""
clocked as (
    insert into queue_clocks (model)
    select distinct model from {source} as fresh
    where not exists (select from queue_clocks as known where known.model = fresh.model)
    on conflict do nothing
),
marked as (
    insert into team_queues (model, team_id)
    select distinct model, team_id from {source} as fresh
    where not exists (
        select from team_queues as known
        where known.model = fresh.model and known.team_id = fresh.team_id and known.is_waiting
    )
    order by model, team_id
    on conflict (model, team_id) do update set is_waiting = true
)"""


_MARK_WAITING = f"""
with returned as materialized (select $1::text as model, $2::uuid as team_id),
{mark_from("returned")}
select
"""

_REFUND = """
update team_queues set virtual_time = virtual_time - $3::float8 / weight
from teams
where model = $1 and team_id = $2 and teams.id = team_id and weight > 0
"""

TEAMS_IN_QUEUE = """
recursive in_queue as (
    (
        select model, team_id from job_runs where status = 'queued'
        order by model, team_id limit 1
    )
    union all
    select later.model, later.team_id from in_queue cross join lateral (
        select model, team_id from job_runs
        where status = 'queued' and (model, team_id) > (in_queue.model, in_queue.team_id)
        order by model, team_id limit 1
    ) as later
)"""
"""Steps over the index from team to team: as many looks as teams, whatever the backlog."""

_MARK_MISSED = f"""
with {TEAMS_IN_QUEUE},
{mark_from("in_queue")}
select
"""

_CLEAR_STALE = f"""
with {TEAMS_IN_QUEUE},
mended as materialized (
    select team_queues.model, team_queues.team_id, in_queue.team_id is not null as is_waiting,
        least(
            team_queues.virtual_time, queue_clocks.virtual_time + $1::float8 / nullif(weight, 0)
        ) as virtual_time
    from team_queues
    join queue_clocks on queue_clocks.model = team_queues.model
    join teams on teams.id = team_queues.team_id
    left join in_queue
        on in_queue.model = team_queues.model and in_queue.team_id = team_queues.team_id
    where team_queues.is_waiting
    for update of team_queues skip locked
)
update team_queues set is_waiting = mended.is_waiting, virtual_time = mended.virtual_time
from mended
where team_queues.model = mended.model and team_queues.team_id = mended.team_id
    and (team_queues.is_waiting, team_queues.virtual_time)
        <> (mended.is_waiting, mended.virtual_time)
"""
