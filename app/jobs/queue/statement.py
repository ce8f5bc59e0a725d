"""The claim as one statement, part by part: account, lane, slot, clock, team, job.

Parameters: $1 account, $2 lane, $3 model, $4 tasks that the account may run, $5 seconds between
creates at its full rate, $6 seconds of the lease, $7 its token, $8 channel of changed jobs.
"""

GIVE_WAY_SECONDS = 0.05
"""For how long a job is left to an account that stands better: then whoever comes takes it."""

CONTENDED_SECONDS = 0.02
"""Another claim was at work in the same instant: it takes milliseconds."""

SWEEP_SECONDS = 1.0
"""With nothing to take: whatever changes that is notified, and the sweep is the truth."""

_OUT = "model = $3 and slot is not null"
"""Of runs: those upstream, which the indexes of slots and of teams cover."""

# Skipped when locked: whoever holds the pace is claiming, or noting what a create has met.
_PACE = """
pace as materialized (
    select accounts.name, accounts.weight, is_suspended,
        greatest($4::int + priming, 1) as slot_count,
        greatest(next_submit_at, coalesce(paused_until, next_submit_at)) as turn_at,
        now() + make_interval(secs => $5::float8 / pace_share) as next_turn_at
    from account_paces join accounts on accounts.id = account_id and accounts.state = 'active'
    where account_id = $1 and model = $3
    for update of account_paces skip locked for share of accounts skip locked
)"""

# One create at a time on a lane; on a suspended account one at all, to see whether it is taken.
# One that is in doubt tells nothing of that any more, and may wait long for its proof.
# Of an account's lanes whose keys have no name in the upstream's list yet, one at a time as well:
# of two lost creates nobody could tell whose a task is.
_LANE = f"""
lane as materialized (
    select pace.*, (select count(*) from job_runs where account_id = $1 and {_OUT}) as out_count
    from pace
    where turn_at <= now()
        and not exists (select from job_runs where lane_id = $2 and status = 'submitting')
        and not (is_suspended and exists (
            select from job_runs where account_id = $1 and {_OUT} and status = 'submitting'
                and lease_expires_at > now()
        ))
        and not exists (
            select from lanes as own
            join lanes as nameless on nameless.account_id = own.account_id
                and nameless.id <> own.id and nameless.upstream_key_id is null
            join job_runs on lane_id = nameless.id and status = 'submitting'
            where own.id = $2 and own.upstream_key_id is null
        )
)"""

# The count is what holds when the limit was lowered below numbers that are taken.
_SLOT = f"""
slot as materialized (
    select number from lane cross join generate_series(0, slot_count - 1) as number
    where out_count < slot_count and not exists (
        select from job_runs where account_id = $1 and {_OUT} and slot = number
    )
    order by number limit 1
)"""

# An account that could take a job now and stands better: it has room that is not primed when
# this one has none, else fewer tasks for its weight.
_RIVAL = f"""
rival as materialized (
    select from lane cross join account_paces as theirs
    join accounts on accounts.id = theirs.account_id and accounts.state = 'active'
    cross join lateral (
        select count(*) as out_count from job_runs
        where account_id = theirs.account_id and {_OUT}
    ) as their
    where exists (select from slot)
        and theirs.model = $3 and theirs.account_id <> $1
        and theirs.next_submit_at <= now() and not theirs.is_suspended
        and (theirs.paused_until is null or theirs.paused_until <= now())
        and their.out_count < greatest(accounts.max_running + theirs.priming, 1)
        and (their.out_count >= accounts.max_running, their.out_count / accounts.weight)
            < (lane.out_count >= $4, lane.out_count / lane.weight)
        and exists (
            select from lanes
            where lanes.account_id = theirs.account_id and lanes.removed_at is null
                and not exists (
                    select from job_runs where lane_id = lanes.id and status = 'submitting'
                )
        )
    limit 1
)"""

# Claims of a model go one after the other. A claim that began before the last one ended would
# judge by what it saw then: it finds another version of the clock than it saw, and goes.
_CLOCK = """
clock as materialized (
    select model, virtual_time from queue_clocks
    where model = $3 and exists (select from slot)
        and xmin = (select seen.xmin from queue_clocks as seen where seen.model = $3)
    for update skip locked
)"""

HEAD_COUNT = 50
"""How many of a team's first jobs are looked at: some are over, or delayed."""
NEXT_COUNT = 1_000
"""And if none of those may, of its live jobs, the one that would be over next first."""
READY_COUNT = 3
"""How many of those are candidates: one may be locked, by a cancel for instance."""

_READY = f"""
expires_at > now() and due_at <= now() - case
    when exists (select from rival) then interval '{GIVE_WAY_SECONDS} s' else interval '0'
end"""

_OF_TEAM = "status = 'queued' and model = $3 and team_id = queue.team_id"

# Teams by how far they have used their share, and of each the first job that may go, until one
# has one: as many looks as teams that are held up, whatever waits. What is sorted and fenced
# first leaves only that way to do it; another would lock the first job of every team. When all of
# a team's first jobs are over, as after a long stop, the job that would be over next goes. Of
# teams that stand equal, who was served last goes last.
_HEAD = f"""
head as materialized (
    select queue.team_id, team.weight, run.job_id, run.n, run.due_at,
        greatest(queue.virtual_time, (select virtual_time from clock)) as start_tag
    from (
        select team_id, virtual_time, served_at from team_queues
        where model = (select model from clock) and is_waiting
        order by virtual_time, served_at nulls first, team_id offset 0
    ) as queue
    cross join lateral (
        select weight from teams
        where id = queue.team_id and weight > 0 and (max_running is null or max_running > (
            select count(*) from job_runs as theirs
            where theirs.model = $3 and theirs.team_id = queue.team_id
                and theirs.slot is not null
        ))
        limit 1
    ) as team
    cross join lateral (
        select job_id, n, due_at from job_runs
        where status = 'queued' and job_id = any(coalesce(
            nullif(array(
                select job_id from (
                    select job_id, expires_at, due_at from job_runs where {_OF_TEAM}
                    order by rank_at, job_id limit {HEAD_COUNT}
                ) as first
                where {_READY} limit {READY_COUNT}
            ), '{{}}'),
            array(
                select job_id from (
                    select job_id, expires_at, due_at from job_runs
                    where {_OF_TEAM} and expires_at > now()
                    order by expires_at limit {NEXT_COUNT}
                ) as next
                where {_READY} limit {READY_COUNT}
            )
        ))
        order by rank_at, job_id limit 1
        for update skip locked
    ) as run
    order by queue.virtual_time, queue.served_at nulls first, queue.team_id limit 1
)"""

# The intent's time is the statement's: its transaction may have begun before the lane was free.
_WRITES = """
claimed as (
    update job_runs set status = 'submitting', attempt = attempt + 1, account_id = $1,
        lane_id = $2, slot = slot.number, lease_token = $7,
        lease_expires_at = statement_timestamp() + make_interval(secs => $6)
    from head, slot where job_runs.job_id = head.job_id
    returning job_runs.job_id, job_runs.attempt, job_runs.slot
),
intent as (
    insert into attempts (job_id, number, account_id, lane_id, intended_at, outcome)
    select job_id, attempt, $1, $2, statement_timestamp(), 'intended' from claimed
),
story as (
    insert into job_events (at, job_id, type, detail)
    select now(), claimed.job_id, 'job.submitting', jsonb_build_object(
        'attempt', attempt, 'account', pace.name, 'lane', lanes.api_key_hint, 'slot', slot,
        'waited_seconds', round(extract(epoch from now() - head.due_at), 3)
    )
    from claimed, head, pace, lanes where lanes.id = $2
    returning pg_notify($8, job_id::text)
),
paced as (
    update account_paces set next_submit_at = pace.next_turn_at
    from claimed, pace where account_paces.account_id = $1 and account_paces.model = $3
),
ticked as (
    update queue_clocks set virtual_time = head.start_tag
    from claimed, head where queue_clocks.model = $3
),
charged as (
    update team_queues
    set virtual_time = greatest(team_queues.virtual_time, clock.virtual_time) + n / weight,
        served_at = statement_timestamp()
    from claimed, head, clock
    where team_queues.model = $3 and team_queues.team_id = head.team_id
)"""

CLAIM_SUBMISSION = f"""
with {_PACE}, {_LANE}, {_SLOT}, {_RIVAL}, {_CLOCK}, {_HEAD}, {_WRITES}
select
    case
        when turn_at > now() then extract(epoch from turn_at - now())
        when exists (select from slot) and not exists (select from clock)
            and exists (select from queue_clocks where model = $3) then {CONTENDED_SECONDS}
        when exists (select from rival) and exists (
            select from job_runs where status = 'queued' and model = $3
                and due_at <= now() and due_at > now() - interval '{GIVE_WAY_SECONDS} s'
        ) then {GIVE_WAY_SECONDS}
        else {SWEEP_SECONDS}
    end as wait_seconds,
    exists (select from slot) as has_room,
    claimed.attempt, statement_timestamp() as intended_at,
    jobs.id as job_id, jobs.model, jobs.prompt, jobs.negative_prompt, jobs.images,
    jobs.n, jobs.size, jobs.seed, jobs.watermark, jobs.prompt_extend
from pace left join claimed on true left join jobs on jobs.id = claimed.job_id
left join story on true
"""
