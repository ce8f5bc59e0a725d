"""Tasks beyond their job's: put down once, settled once it is known whether they were billed."""

from app.billing.ledger import book_waste
from app.jobs.events import write_event
from app.jobs.lifecycle import Fence, Orphan
from app.kit.postgres.database import Connection


async def note_orphan(connection: Connection, fence: Fence, orphan: Orphan) -> bool:
    """Put a surplus task down to be watched; False when it is known already, or a job's own."""
    noted: bool | None = await connection.fetchval(
        _NOTE, orphan.task_id, fence.job_id, fence.attempt, orphan.is_ours, orphan.reason
    )
    if noted is None:
        return False
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
    """End the watch over an orphan, booking what it cost as waste; False when it was ended."""
    row = await connection.fetchrow(_SETTLE, task_id, state, image_count)
    if row is None:
        return False
    await book_waste(connection, row["job_id"], image_count)
    await write_event(
        connection,
        row["job_id"],
        "job.orphan_settled",
        {"task_id": task_id, "state": state, "image_count": image_count},
    )
    return True


_NOTE = """
insert into orphans (upstream_task_id, account_id, model, job_id, attempt, is_ours, reason)
select $1, attempts.account_id, jobs.model, jobs.id, $3, $4, $5
from jobs join attempts on attempts.job_id = jobs.id and attempts.number = $3
where jobs.id = $2 and not exists (
    select from attempts as owners where owners.upstream_task_id = $1
        and coalesce(owners.error_code, '') not in ('given_up', 'task_lost')
)
on conflict (upstream_task_id) do nothing
returning true
"""

_SETTLE = """
update orphans set state = $2, settled_at = now(), image_count = $3::int,
    amount = jobs.unit_price * $3::int
from jobs
where orphans.upstream_task_id = $1 and orphans.state = 'watched' and jobs.id = orphans.job_id
returning orphans.job_id
"""
