"""The rows that a job's story is made of, read as of one moment."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from app.accounts.story import PAUSED, RECOVERED, RESUMED, SUSPENDED
from app.jobs.explain.facts import (
    AttemptFacts,
    Entry,
    Event,
    Facts,
    JobFacts,
    OrphanFacts,
    PictureFacts,
    Setback,
    Spell,
    Surroundings,
)
from app.jobs.explain.waits import NOTABLE, Wait, find_waits
from app.jobs.lifecycle import JobStatus
from app.jobs.queue.board import Board
from app.jobs.queue.standing import find_place
from app.kit.errors import NotFound
from app.kit.ids import find_lowest_id
from app.kit.postgres.database import Connection, Pool, Record

LONGEST_STAY = timedelta(days=8)
"""A job that took a place while this one waited was accepted no longer before that."""
CLOCK_SKEW = timedelta(minutes=5)
SPELLS_LIMIT = 50_000
SETBACKS_LIMIT = 5_000
LONGEST_PAUSE = timedelta(minutes=15)


async def load_facts(pool: Pool, job_id: UUID) -> Facts:
    """All that is known of a job; raises NotFound."""
    place = await find_place(Board(pool), job_id)
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        row = await connection.fetchrow(_JOB, job_id)
        if row is None:
            raise NotFound(f"there is no job {job_id}", code="job_not_found")
        events = [Event(**each) for each in await connection.fetch(_EVENTS, job_id)]
        return Facts(
            now=row["now"],
            job=_to_job(row),
            events=events,
            attempts=[AttemptFacts(**each) for each in await connection.fetch(_ATTEMPTS, job_id)],
            pictures=[PictureFacts(**each) for each in await connection.fetch(_PICTURES, job_id)],
            entries=[Entry(**each) for each in await connection.fetch(_ENTRIES, job_id)],
            orphans=[OrphanFacts(**each) for each in await connection.fetch(_ORPHANS, job_id)],
            around=await _look_around(connection, row, find_waits(events, row["now"])),
            place=place,
        )


async def _look_around(connection: Connection, job: Record, waits: Sequence[Wait]) -> Surroundings:
    """What went on while the job waited; nothing needs explaining when it did not."""
    long = [wait for wait in waits if wait.lasted >= NOTABLE]
    if not long:
        return Surroundings()
    first, last = long[0].since, long[-1].until
    setbacks = await connection.fetch(
        _SETBACKS,
        job["model"],
        first - LONGEST_PAUSE,
        last,
        [PAUSED, SUSPENDED, RECOVERED, RESUMED],
        SETBACKS_LIMIT,
    )
    spells = await connection.fetch(
        _SPELLS,
        job["id"],
        [wait.since for wait in long],
        [wait.until for wait in long],
        find_lowest_id(first - LONGEST_STAY),
        find_lowest_id(last + CLOCK_SKEW),
        SPELLS_LIMIT,
    )
    places = await connection.fetch(_PLACES, job["model"])
    return Surroundings(
        setbacks=[_to_setback(each) for each in setbacks],
        spells=[Spell(**each) for each in spells],
        places=tuple((each["name"], each["max_running"]) for each in places),
    )


def _to_job(row: Record) -> JobFacts:
    fields = {name: value for name, value in row.items() if name != "now"}
    return JobFacts(**{**fields, "status": JobStatus(row["status"])})


def _to_setback(row: Record) -> Setback:
    until = row["until"]
    return Setback(
        row["at"],
        row["account"],
        row["type"],
        row["code"],
        None if until is None else datetime.fromisoformat(until),
    )


_JOB = """
select jobs.id, teams.name as team, teams.max_running as team_max_running, keys.name as key,
    jobs.door, jobs.model, jobs.priority, jobs.n, jobs.unit_price, jobs.currency,
    jobs.created_at, jobs.expires_at, coalesce(jobs.status, runs.status) as status,
    jobs.finished_at, jobs.error_code, jobs.error_message, runs.due_at, runs.attention_code,
    runs.attention_since, runs.attention_detail, runs.cancel_requested_at, now() as now
from jobs
join teams on teams.id = jobs.team_id
join keys on keys.id = jobs.key_id
left join job_runs as runs on runs.job_id = jobs.id
where jobs.id = $1
"""

_EVENTS = "select at, type, detail from job_events where job_id = $1 order by id"

_ATTEMPTS = """
select number, accounts.name as account, api_key_hint as key_hint, intended_at, outcome,
    settled_at, upstream_task_id as task_id, upstream_request_id as request_id, http_status,
    task_status, task_submitted_at, task_scheduled_at, task_ended_at, image_count, error_code,
    error_message
from attempts
join accounts on accounts.id = attempts.account_id
join lanes on lanes.id = attempts.lane_id
where job_id = $1 order by number
"""

_PICTURES = """
select index, status, byte_count, kept_at, source_expires_at, error_code, error_message
from pictures where job_id = $1 order by index
"""

# Each half has an index by job, which the whole has not. Waste taken back counts less.
_ENTRIES = """
select kind, sign * amount as amount, currency, sign * image_count as image_count from (
    select *, 1 as sign from ledger_entries where job_id = $1 and kind <> 'waste'
    union all
    select *, case debit when 'waste' then 1 else -1 end
    from ledger_entries where job_id = $1 and kind = 'waste'
) as entries
order by id
"""

_ORPHANS = """
select upstream_task_id as task_id, attempt, state, reason, image_count
from orphans where job_id = $1 order by found_at
"""

_PLACES = """
select name, max_running from account_paces join accounts on accounts.id = account_id
where model = $1 and accounts.state = 'active' order by name
"""

# Of a suspension that began long before, only its own event tells.
_SETBACKS = """
with told as (
    select * from account_events
    where (model = $1 or model is null) and at > $2 and at <= $3 and type = any($4)
    union
    select earlier.* from account_paces cross join lateral (
        select * from account_events
        where account_events.account_id = account_paces.account_id
            and (account_events.model = $1 or account_events.model is null)
            and at <= $2 and type = any($4)
        order by at desc, id desc limit 1
    ) as earlier
    where account_paces.model = $1
)
select at, accounts.name as account, type, told.detail->>'code' as code,
    told.detail->>'until' as until
from told join accounts on accounts.id = told.account_id
order by at, told.id limit $5
"""

# A place is taken from the intent until the task's end, or until no task was made.
_SPELLS = """
select since, until, account, is_of_team
from (
    select intended_at as since, accounts.name as account,
        jobs.team_id = mine.team_id as is_of_team,
        coalesce(
            task_ended_at,
            case when outcome in ('refused', 'absent') then settled_at end,
            jobs.finished_at,
            now()
        ) as until
    from attempts
    join jobs on jobs.id = attempts.job_id
    join accounts on accounts.id = attempts.account_id
    join jobs as mine on mine.id = $1 and mine.model = jobs.model
    where attempts.job_id between $4 and $5 and attempts.job_id <> $1
) as spells
where exists (
    select from unnest($2::timestamptz[], $3::timestamptz[]) as waits(since, until)
    where spells.since < waits.until and spells.until > waits.since
)
limit $6
"""
