"""What is written of an attempt: its outcome, and what the upstream told of its task."""

from app.billing.waste import book_waste
from app.jobs.lifecycle import Fail, Fence, Requeue, TaskFacts
from app.jobs.moves import StaleRun
from app.kit.postgres.database import Connection


async def close_attempt(connection: Connection, fence: Fence, decision: Requeue) -> None:
    """Note what became of an attempt that gave its job nothing; raises StaleRun."""
    if decision.outcome == "accepted":
        await give_up_task(connection, fence, decision)
    else:
        await settle_attempt(connection, fence, decision.outcome, decision)
    await book_rest(connection, fence, delivered=0)


async def settle_attempt(
    connection: Connection, fence: Fence, outcome: str, decision: Requeue | Fail
) -> None:
    """Note that an attempt made no task; raises StaleRun when it is known to have made one."""
    settled = await connection.fetchval(
        """
        update attempts set outcome = $3, settled_at = now(), http_status = $4,
            upstream_request_id = $5, error_code = $6, error_message = $7
        where job_id = $1 and number = $2 and upstream_task_id is null
        returning true
        """,
        fence.job_id,
        fence.attempt,
        outcome,
        decision.http_status,
        decision.request_id,
        decision.code,
        decision.message,
    )
    if settled is None:
        raise StaleRun


async def give_up_task(connection: Connection, fence: Fence, decision: Requeue | Fail) -> None:
    """Note why an attempt that did make a task gave its job nothing."""
    await connection.execute(
        "update attempts set error_code = $3, error_message = $4"
        " where job_id = $1 and number = $2",
        fence.job_id,
        fence.attempt,
        decision.code,
        decision.message,
    )
    if decision.task is not None:
        await write_task(connection, fence, decision.task)


async def write_task(connection: Connection, fence: Fence, task: TaskFacts) -> None:
    await connection.execute(
        """
        update attempts set task_status = $3, task_submitted_at = $4, task_scheduled_at = $5,
            task_ended_at = $6, image_count = $7
        where job_id = $1 and number = $2
        """,
        fence.job_id,
        fence.attempt,
        task.status,
        task.submitted_at,
        task.scheduled_at,
        task.ended_at,
        task.image_count,
    )


async def book_rest(connection: Connection, fence: Fence, *, delivered: int) -> None:
    """The company pays for what an attempt's task was billed and its team does not get.

    Each end of a job and of an attempt comes through here. A task whose bill is not known by then
    is an orphan, and booked when that is settled.
    """
    attempt = await connection.fetchrow(_FIND_BILL, fence.job_id, fence.attempt)
    if attempt is not None:
        await book_waste(
            connection,
            fence.job_id,
            attempt["upstream_task_id"],
            billed=attempt["image_count"],
            delivered=delivered,
            is_own=True,
        )


_FIND_BILL = """
select upstream_task_id, image_count from attempts
where job_id = $1 and number = $2 and upstream_task_id is not null
"""
