"""Tasks beyond their job's: put down once, settled once it is known whether they were billed."""

from app.billing.waste import book_waste, take_back_waste
from app.jobs.events import write_event
from app.jobs.lifecycle import Fence, Orphan
from app.kit.postgres.database import Connection


async def note_orphan(connection: Connection, fence: Fence, orphan: Orphan) -> bool:
    """Put a surplus task down to be watched; False when it is known already, or a job's own.

    One that was another job's by a guess, or not even that, is this job's from now on.
    """
    noted: bool | None = await connection.fetchval(
        _NOTE, orphan.task_id, fence.job_id, fence.attempt, orphan.is_ours, orphan.reason
    )
    if noted is None:
        return False
    await take_back_waste(connection, orphan.task_id, but_of=fence.job_id)
    await write_event(
        connection,
        fence.job_id,
        "job.orphan_found",
        {"attempt": fence.attempt, "task_id": orphan.task_id, "reason": orphan.reason},
    )
    return True


async def settle_orphan(
    connection: Connection, task_id: str, state: str, *, image_count: int = 0
) -> bool:
    """End the watch over an orphan, booking what it cost as waste; False when it was ended.

    One that is not shown to be its create's is open to the create that did make it, and what its
    job's create made is unknown again. What such a one cost is waste until then.
    """
    row = await connection.fetchrow(_SETTLE, task_id, state, image_count)
    if row is None:
        return False
    if row["state"] != "wasted":
        await connection.execute(_FORGET, task_id)
    await book_waste(connection, row["job_id"], task_id, billed=row["image_count"])
    await write_event(
        connection,
        row["job_id"],
        "job.orphan_settled",
        {"task_id": task_id, "state": row["state"], "image_count": row["image_count"]},
    )
    return True


async def claim_task(connection: Connection, task_id: str) -> None:
    """What an attempt has is no task too many: its watch is over, and its waste taken back.

    To be called once the attempt has been written.
    """
    await connection.execute(_MAKE_FOREIGN, task_id)
    await take_back_waste(connection, task_id)


async def forget_guess(connection: Connection, task_id: str) -> None:
    """Take a task off an attempt that its job has given up, for the create that did make it."""
    await claim_task(connection, task_id)
    await connection.execute(_FORGET, task_id)


_NOTE = """
insert into orphans as known
    (upstream_task_id, account_id, model, job_id, attempt, is_ours, reason)
select $1, attempts.account_id, jobs.model, jobs.id, $3, $4, $5
from jobs join attempts on attempts.job_id = jobs.id and attempts.number = $3
where jobs.id = $2 and not exists (
    select from attempts as owners where owners.upstream_task_id = $1
        and coalesce(owners.error_code, '') not in ('given_up', 'task_lost')
)
on conflict (upstream_task_id) do update
set account_id = excluded.account_id, model = excluded.model, job_id = excluded.job_id,
    attempt = excluded.attempt, is_ours = excluded.is_ours, reason = excluded.reason,
    state = 'watched', found_at = now(), settled_at = null, image_count = null, amount = null
where known.job_id <> excluded.job_id and (
    known.state = 'foreign'
    or known.state = 'watched' and excluded.is_ours and not known.is_ours
)
returning true
"""

_FORGET = """
update attempts set outcome = 'absent', error_code = 'given_up', upstream_task_id = null,
    upstream_request_id = null, settled_at = now()
where upstream_task_id = $1 and outcome = 'adopted' and error_code in ('given_up', 'task_lost')
"""

_MAKE_FOREIGN = """
update orphans set state = 'foreign', settled_at = now(), image_count = null, amount = null
where upstream_task_id = $1 and state in ('watched', 'wasted')
"""

# One that an attempt has got meanwhile, and counts on, is no waste.
_SETTLE = """
update orphans set state = case when is_owned then 'foreign' else $2 end, settled_at = now(),
    image_count = found.image_count, amount = jobs.unit_price * found.image_count
from jobs, (
    select is_owned, case when is_owned then 0 else $3::int end as image_count
    from (
        select exists (
            select from attempts where upstream_task_id = $1
                and coalesce(error_code, '') not in ('given_up', 'task_lost')
        ) as is_owned
    ) as owners
) as found
where orphans.upstream_task_id = $1 and orphans.state = 'watched' and jobs.id = orphans.job_id
returning orphans.job_id, orphans.state, orphans.image_count
"""
