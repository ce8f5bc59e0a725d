"""Claims: which queued job goes out next on a lane, and which finished job is kept next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from app.jobs.engine.submit import Submission
from app.jobs.events import JOB_CHANGED
from app.jobs.lifecycle import UPSTREAM_MEMORY, Fence
from app.kit.postgres.database import Connection, Record

PACE_MARGIN = 1.05
"""Submits are spaced 5 % wider than the account's rate: network jitter must not bunch them."""

KEEP_LEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LaneTurn:
    """One lane asking for work: whose, for which model, under which limits."""

    account_id: UUID
    lane_id: UUID
    model: str
    slots: int
    submit_rate: float
    lease_seconds: float


@dataclass(frozen=True, slots=True)
class KeepTurn:
    """A finished job whose pictures this process may keep, until the lease ends."""

    fence: Fence
    lease_token: UUID
    account_id: UUID
    ended_at: datetime


async def claim_submission(
    connection: Connection, turn: LaneTurn
) -> tuple[Submission | None, float]:
    """The next job of the queue, now `submitting`; else None and the seconds to the next turn.

    One statement: pace, slot, lane, job, attempt and event move together or not at all.
    """
    row = await connection.fetchrow(
        _CLAIM_SUBMISSION,
        turn.account_id,
        turn.lane_id,
        turn.model,
        turn.slots,
        PACE_MARGIN / turn.submit_rate,
        turn.lease_seconds,
        uuid4(),
        JOB_CHANGED,
    )
    if row is None:
        return None, 1.0
    if row["job_id"] is None:
        return None, float(row["wait_seconds"])
    return _to_submission(row), 0.0


async def claim_kept(connection: Connection, *, limit: int) -> tuple[KeepTurn, ...]:
    """Finished jobs to keep pictures of, closest to their URLs' end first."""
    rows = await connection.fetch(_CLAIM_KEPT, limit, uuid4(), KEEP_LEASE_SECONDS)
    return tuple(
        KeepTurn(
            Fence(row["job_id"], row["attempt"]),
            row["lease_token"],
            row["account_id"],
            ended_at=row["expires_at"] - UPSTREAM_MEMORY,
        )
        for row in rows
    )


async def renew_leases(connection: Connection, tokens: Sequence[UUID]) -> None:
    """Keep what this process is working on out of other hands for another lease."""
    await connection.execute(
        "update job_runs set lease_expires_at = now() + make_interval(secs => $2)"
        " where lease_token = any($1)",
        list(tokens),
        KEEP_LEASE_SECONDS,
    )


async def release_lease(connection: Connection, turn: KeepTurn, *, due_in_seconds: float) -> None:
    await connection.execute(
        """
        update job_runs set lease_token = null, lease_expires_at = null,
            due_at = now() + make_interval(secs => $3)
        where job_id = $1 and lease_token = $2
        """,
        turn.fence.job_id,
        turn.lease_token,
        due_in_seconds,
    )


def _to_submission(row: Record) -> Submission:
    parameters: dict[str, Any] = {
        "n": row["n"],
        "watermark": row["watermark"],
        "prompt_extend": row["prompt_extend"],
    }
    if row["size"] is not None:
        parameters["size"] = row["size"]
    if row["seed"] is not None:
        parameters["seed"] = row["seed"]
    return Submission(
        fence=Fence(row["job_id"], row["attempt"]),
        model=row["model"],
        prompt=row["prompt"],
        negative_prompt=row["negative_prompt"],
        images=tuple(row["images"]),
        parameters=parameters,
        intended_at=row["intended_at"],
    )


_CLAIM_SUBMISSION = """
with pace as materialized (
    select account_id, greatest(next_submit_at, coalesce(paused_until, next_submit_at)) as turn_at
    from account_paces join accounts on accounts.id = account_id and accounts.state = 'active'
    where account_id = $1 and model = $3
    for update of account_paces skip locked for share of accounts skip locked
),
lane as materialized (
    select from pace where turn_at <= now() and not exists (
        select from job_runs where lane_id = $2 and status = 'submitting'
    )
),
slot as materialized (
    select number from lane cross join generate_series(0, $4::int - 1) as number
    where not exists (
        select from job_runs where account_id = $1 and model = $3 and slot = number
    ) and $4::int > (
        select count(*) from job_runs where account_id = $1 and model = $3 and slot is not null
    )
    order by number limit 1
),
head as materialized (
    select job_runs.job_id from slot cross join lateral (
        select job_id from job_runs
        where status = 'queued' and model = $3 and due_at <= now() and expires_at > now()
        order by priority desc, job_id limit 1
        for update skip locked
    ) as job_runs
),
claimed as (
    update job_runs set status = 'submitting', attempt = attempt + 1, account_id = $1,
        lane_id = $2, slot = slot.number, lease_token = $7,
        lease_expires_at = now() + make_interval(secs => $6)
    from head, slot where job_runs.job_id = head.job_id
    returning job_runs.job_id, job_runs.attempt
),
intent as (
    insert into attempts (job_id, number, account_id, lane_id, intended_at, outcome)
    select job_id, attempt, $1, $2, now(), 'intended' from claimed
),
story as (
    insert into job_events (at, job_id, type, detail)
    select now(), job_id, 'job.submitting', jsonb_build_object('attempt', attempt) from claimed
    returning pg_notify($8, job_id::text)
),
paced as (
    update account_paces set next_submit_at = now() + make_interval(secs => $5),
        paused_until = null, pause_code = null
    from claimed where account_paces.account_id = $1 and account_paces.model = $3
)
select
    case when turn_at > now() then extract(epoch from turn_at - now()) else 1 end as wait_seconds,
    claimed.attempt, now() as intended_at, jobs.id as job_id, jobs.model, jobs.prompt,
    jobs.negative_prompt, jobs.images, jobs.n, jobs.size, jobs.seed, jobs.watermark,
    jobs.prompt_extend
from pace left join claimed on true left join jobs on jobs.id = claimed.job_id
left join story on true
"""

_CLAIM_KEPT = """
with due as materialized (
    select job_id from job_runs
    where status = 'finalizing' and due_at <= now()
        and (lease_expires_at is null or lease_expires_at < now())
    order by expires_at limit $1
    for update skip locked
)
update job_runs set lease_token = $2, lease_expires_at = now() + make_interval(secs => $3)
from due where job_runs.job_id = due.job_id
returning job_runs.job_id, attempt, lease_token, account_id, expires_at
"""
