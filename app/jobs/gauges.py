"""What the database tells of the gateway's state: one short statement for a group of gauges."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from app.jobs.engine.conduct import CONDUCTOR_LOCK
from app.jobs.keeping.risk import LADDER
from app.jobs.lifecycle import FINAL, UPSTREAM_MEMORY, JobStatus
from app.kit.postgres.database import CONNECTION_TROUBLE, Pool, Record

STATEMENT_SECONDS = 1.0
RECENT_EVENTS = 2_000
"""How far back the times of finished tasks are looked for."""


@dataclass(frozen=True, slots=True)
class Group:
    """A statement: each row's labels, and a gauge, or a counter, for each of its other columns."""

    name: str
    sql: str
    gauges: dict[str, str]
    """Column, which is the gauge's name, and what it says."""
    labels: tuple[str, ...] = ()
    values: tuple[object, ...] = field(default=(), repr=False)
    is_counter: bool = False
    """Whether its numbers only ever grow."""


@dataclass(frozen=True, slots=True)
class Readings:
    """What a group has said; None when it took too long."""

    group: Group
    rows: list[Record] | None


async def read_gauges(pool: Pool) -> AsyncIterator[Readings]:
    """Every group in turn, from one snapshot; raises what a lost database raises."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(f"set local statement_timeout = '{STATEMENT_SECONDS}s'")
        for group in GROUPS:
            rows: list[Record] | None = None
            try:
                async with connection.transaction():
                    rows = await connection.fetch(group.sql, *group.values)
            except CONNECTION_TROUBLE:
                if connection.is_closed():
                    raise
            yield Readings(group, rows)


JOBS = Group(
    "jobs",
    """
    select status, (select count(*) from job_runs where job_runs.status = known.status) as jobs
    from unnest($1::text[]) as known (status)
    """,
    {"jobs": "Jobs that have not ended, by status."},
    labels=("status",),
    values=([status.value for status in JobStatus if status not in FINAL],),
)

QUEUE = Group(
    "queue",
    """
    select coalesce((
        select extract(epoch from now() - created_at) from jobs where id = (
            select job_id from job_runs where status = 'queued' order by job_id limit 1
        )
    ), 0) as oldest_queued_age_seconds
    """,
    {"oldest_queued_age_seconds": "Age of the oldest job in the queue; 0 when it is empty."},
)

RESULTS = Group(
    "results",
    """
    select count(*) as results_waiting,
        extract(epoch from min(source_expires_at) - now()) as results_closest_expiry_seconds
    from job_runs join pictures on pictures.job_id = job_runs.job_id
        and pictures.status = 'upstream'
    where job_runs.status = 'finalizing'
    """,
    {
        "results_waiting": "Paid pictures that are still upstream only.",
        "results_closest_expiry_seconds": "Until the first of them dies; absent without any.",
    },
)

RISK = Group(
    "risk",
    """
    with waiting as (
        select now() - ended_at as age, expires_at - ended_at as life from (
            select runs.expires_at,
                coalesce(attempts.task_ended_at, runs.expires_at - $4::interval) as ended_at
            from job_runs as runs
            join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
            join pictures on pictures.job_id = runs.job_id and pictures.status = 'upstream'
            where runs.status = 'finalizing'
            union all
            select submitted_at + $4::interval, submitted_at from job_runs
            cross join lateral generate_series(1, n)
            where status = 'running' and submitted_at < now() - interval '1 hour'
        ) as ended
    ),
    judged as materialized (
        select (
            select level from unnest($1::text[], $2::interval[], $3::float8[])
                with ordinality as rungs (level, after, life_share, place)
            where age >= least(after, life * life_share) order by place limit 1
        ) as level
        from waiting
    )
    select level, (select count(*) from judged where judged.level = known.level)
        as results_at_risk
    from unnest($1::text[]) as known (level)
    """,
    {"results_at_risk": "Pictures that are still upstream long after their task's end."},
    labels=("level",),
    values=(
        [rung.level.value for rung in LADDER],
        [rung.after for rung in LADDER],
        [rung.life_share for rung in LADDER],
        UPSTREAM_MEMORY,
    ),
)

ATTENTION = Group(
    "attention",
    """
    select attention_code as code, count(*) as jobs_needing_attention from job_runs
    where attention_code is not null group by 1
    """,
    {"jobs_needing_attention": "Jobs that a person must look at, by code."},
    labels=("code",),
)

ACCOUNTS = Group(
    "accounts",
    """
    select name as account, model, max_running as account_slots,
        (accounts.state = 'active')::int as account_active,
        paces.is_suspended::int as account_suspended, paces.priming as account_priming,
        paces.pace_share as account_pace_share, count(runs.slot) as account_slots_used,
        count(*) filter (
            where runs.status = 'submitting'
                and coalesce(runs.lease_expires_at, now()) <= now()
        ) as account_submissions_in_doubt
    from accounts
    join account_paces as paces on paces.account_id = accounts.id
    left join lateral (
        select slot, status, lease_expires_at from job_runs
        where job_runs.account_id = accounts.id and job_runs.model = paces.model
            and status in ('submitting', 'running')
    ) as runs on true
    where accounts.state <> 'removed'
    group by accounts.id, paces.account_id, paces.model
    """,
    {
        "account_slots": "Tasks that may run upstream at once.",
        "account_active": "Whether the account takes new jobs.",
        "account_suspended": "Whether the account rests until somebody mends it.",
        "account_priming": "Tasks kept submitted beyond those that may run; below 0, room denied.",
        "account_pace_share": "Share of the account's submit rate that is used.",
        "account_slots_used": "Tasks that hold a slot.",
        "account_submissions_in_doubt": "Creates of which it is unknown whether they made a task.",
    },
    labels=("account", "model"),
)

PAUSES = Group(
    "pauses",
    """
    select name as account, model, pause_code as code,
        extract(epoch from paused_until - now()) as account_pause_seconds
    from account_paces join accounts on accounts.id = account_id and state <> 'removed'
    where paused_until > now()
    """,
    {"account_pause_seconds": "How long an account submits nothing; absent when it may."},
    labels=("account", "model", "code"),
)

ORPHANS = Group(
    "orphans",
    """
    select count(*) filter (where state = 'watched') as orphans_watched,
        coalesce(sum(image_count) filter (where state = 'wasted'), 0) as orphans_wasted_images,
        (select coalesce(sum(image_count), 0) from daily_waste) as wasted_images
    from orphans
    """,
    {
        "orphans_watched": "Tasks beyond their job's whose end is not known yet.",
        "orphans_wasted_images": "Images of such tasks that the upstream billed.",
        "wasted_images": "All images that the upstream billed and no team got.",
    },
)

LEADER = Group(
    "leader",
    """
    select count(*) as leader_present from pg_locks
    where locktype = 'advisory' and granted and objsubid = 1
        and classid::bigint << 32 | objid::bigint = $1
        and database = (select oid from pg_database where datname = current_database())
    """,
    {"leader_present": "Whether a worker leads."},
    values=(CONDUCTOR_LOCK,),
)

TIMES = Group(
    "times",
    """
    with recent as materialized (
        select at, job_id, type from job_events order by id desc limit $1
    ),
    tasks as materialized (
        select extract(epoch from at - task_ended_at) as delay_seconds,
            extract(epoch from task_ended_at - coalesce(task_scheduled_at, task_submitted_at))
                as service_seconds
        from recent join attempts on attempts.job_id = recent.job_id
            and attempts.task_status = 'SUCCEEDED'
        where recent.type = 'job.finalizing'
    )
    select 'p' || round(share * 100) as percentile,
        percentile_cont(share) within group (order by delay_seconds::float8)
            as task_detection_delay_seconds,
        percentile_cont(share) within group (order by service_seconds::float8)
            as task_service_seconds
    from unnest(array[0.5, 0.95]::float8[]) as asked (share) cross join tasks
    group by share
    """,
    {
        "task_detection_delay_seconds": "From a task's end until it was seen, of the latest ones.",
        "task_service_seconds": "How long the latest tasks ran upstream.",
    },
    labels=("percentile",),
    values=(RECENT_EVENTS,),
)

CHORES = Group(
    "chores",
    "select work, failures as work_failures from chore_failures",
    {"work_failures": "What failed in the background, item by item, and lost pictures, ever."},
    labels=("work",),
)

ENDED = Group(
    "ended",
    """
    with usage as (
        select sum(succeeded) as succeeded, sum(failed) as failed, sum(canceled) as canceled,
            sum(expired) as expired from daily_usage
    )
    select status, coalesce((to_jsonb(usage) ->> status)::bigint, 0) as jobs_ended
    from unnest($1::text[]) as known (status) cross join usage
    """,
    {"jobs_ended": "Jobs that have ended, by how."},
    labels=("status",),
    values=([status.value for status in JobStatus if status in FINAL],),
    is_counter=True,
)

IMAGES = Group(
    "images",
    "select coalesce(sum(image_count), 0)::bigint as images from daily_usage",
    {"images": "Images that teams have got."},
    is_counter=True,
)

UPSTREAM = Group(
    "upstream",
    "select call, answer, calls as upstream_calls from upstream_calls",
    {"upstream_calls": "Calls of the upstream, by what they were and the HTTP status, or none."},
    labels=("call", "answer"),
    is_counter=True,
)

GROUPS = (
    *(JOBS, QUEUE, RESULTS, RISK, ATTENTION, ACCOUNTS, PAUSES, ORPHANS, LEADER, TIMES, CHORES),
    *(ENDED, IMAGES, UPSTREAM),
)
"""Everything that is read at a scrape; another part of the gateway adds its group here."""
