"""The state of a job as the rules see it, read from its rows."""

from dataclasses import dataclass
from uuid import UUID

from app.jobs.core.restored import RESTORED_CODE
from app.jobs.core.state import RunState
from app.jobs.lifecycle import JobStatus
from app.kit.postgres.database import Connection


@dataclass(frozen=True, slots=True)
class Standing:
    """A run as it stands now, and where."""

    run: RunState
    account_id: UUID | None
    model: str


async def lock_standing(connection: Connection, job_id: UUID) -> Standing | None:
    """The state of an active job, held still until the caller's commit; None when it has ended.

    Two statements: one that waits for the row would see the attempts as they were before.
    """
    await connection.execute("select from job_runs where job_id = $1 for update", job_id)
    row = await connection.fetchrow(_READ_STANDING, job_id, RESTORED_CODE)
    if row is None:
        return None
    run = RunState(
        status=JobStatus(row["status"]),
        attempt=row["attempt"],
        n=row["n"],
        prompt=row["prompt"],
        expires_at=row["expires_at"],
        intended_at=row["intended_at"],
        task_id=row["upstream_task_id"],
        is_adopted=row["outcome"] == "adopted",
        holds_lane=row["lane_id"] is not None,
        holds_slot=row["slot"] is not None,
        task_failures=row["task_failures"],
        fruitless_tries=row["fruitless_tries"],
        refusals=row["refusals"],
        is_cancel_asked=row["cancel_requested_at"] is not None,
        is_awaited=row["is_awaited"],
        is_restored=row["is_restored"],
        unlisted_at=row["unlisted_at"],
        attention_code=row["attention_code"],
        attention_since=row["attention_since"],
    )
    return Standing(run, row["account_id"], row["model"])


_READ_STANDING = """
select runs.status, runs.attempt, runs.n, runs.expires_at, runs.upstream_task_id, runs.lane_id,
    runs.slot, runs.task_failures, runs.cancel_requested_at, runs.attention_code,
    runs.attention_since, runs.account_id, runs.model, jobs.prompt, attempts.intended_at,
    attempts.outcome, attempts.unlisted_at, tries.fruitless_tries, tries.refusals,
    coalesce(
        runs.status = 'submitting' and runs.lease_expires_at > clock_timestamp(), false
    ) as is_awaited,
    coalesce(attempts.error_code = $2, false) as is_restored
from job_runs as runs
join jobs on jobs.id = runs.job_id
left join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
cross join lateral (
    select count(*) filter (where outcome = 'absent') as fruitless_tries,
        count(*) filter (where outcome = 'refused') as refusals
    from attempts as own where own.job_id = runs.job_id
) as tries
where runs.job_id = $1
"""
