"""The look for jobs that make no progress: whose time is over, the rules say what is due.

The statements only find them; `core/deadlines` decides, under the job's lock.
"""

from functools import partial
from uuid import UUID

from app.jobs.core.deadlines import REVIEW_GRACE
from app.jobs.core.state import Ticked
from app.jobs.engine.judge import Judge
from app.jobs.moves import StaleRun
from app.kit.background.chores import Apart, count_failures

BATCH = 200


async def call_attention(judge: Judge, apart: Apart) -> bool:
    """Tell of every job that has stood still for longer than it should; a chore's step.

    Says whether there may be more. A job whose turn fails rests in `apart`.
    """
    rules, resting = judge.rules, apart.resting()
    doubts = await judge.pool.fetch(
        _DOUBTS, rules.settle, rules.review_after + REVIEW_GRACE, resting, BATCH
    )
    running = await judge.pool.fetch(
        _RUNNING, rules.overdue_after, rules.slot_held_for, resting, BATCH
    )
    heads = await judge.pool.fetch(_HEADS, rules.start_within, resting, BATCH)
    upstream = [row["job_id"] for row in (*doubts, *running)]
    await apart.each(upstream, partial(_tick, judge, Ticked()))
    first = [row["job_id"] for row in heads]
    await apart.each(first, partial(_tick, judge, Ticked(is_next=True)))
    await count_failures(judge.pool, apart)
    return BATCH in (len(doubts), len(running), len(heads))


async def _tick(judge: Judge, event: Ticked, job_id: UUID) -> None:
    try:
        await judge.hear(job_id, event)
    except StaleRun:
        return


_DOUBTS = """
select runs.job_id from job_runs as runs
join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
where runs.status = 'submitting'
    and (runs.lease_expires_at is null or runs.lease_expires_at < now())
    and (
        (runs.lane_id is not null and attempts.intended_at < now() - $1::interval)
        or (runs.slot is not null and attempts.intended_at < now() - $2::interval)
    )
    and runs.job_id <> all($3::uuid[])
limit $4
"""

_RUNNING = """
select job_id from job_runs
where status = 'running' and submitted_at < now() - $1::interval
    and (attention_code is null or (slot is not null and submitted_at < now() - $2::interval))
    and job_id <> all($3::uuid[])
order by submitted_at limit $4
"""

# One job for each team and model: the one that a claim would take first. Where the team has a job
# out, or has had one end lately, its queue moves, however long its first job has waited in it.
_HEADS = """
select head.job_id
from team_queues as queue
join teams on teams.id = queue.team_id and teams.weight > 0
cross join lateral (
    select job_id, attention_code, runs.expires_at, jobs.created_at
    from job_runs as runs join jobs on jobs.id = runs.job_id
    where runs.status = 'queued' and runs.model = queue.model and runs.team_id = queue.team_id
    order by rank_at, job_id limit 1
) as head
where queue.is_waiting and head.attention_code is null and head.expires_at > now()
    and head.created_at < now() - $1::interval
    and not exists (
        select from job_runs where model = queue.model and team_id = queue.team_id
            and slot is not null
    )
    and not exists (
        select from jobs where team_id = queue.team_id and finished_at > now() - $1::interval
            and model = queue.model and status in ('succeeded', 'failed')
    )
    and head.job_id <> all($2::uuid[])
limit $3
"""
