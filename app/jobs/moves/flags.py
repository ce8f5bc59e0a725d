"""What is written beside the statuses: what a person must look at, and the wish to stop."""

from app.jobs.events import QUEUE_CHANGED, wake, write_event
from app.jobs.lifecycle import Fence, Flag, Review
from app.jobs.moves import StaleRun
from app.kit.postgres.database import Connection


async def flag_run(connection: Connection, fence: Fence, decision: Flag | Review) -> None:
    newly = await connection.fetchval(
        """
        update job_runs set attention_code = $3, attention_detail = $4,
            attention_since = case when attention_code = $3 then attention_since else now() end
        from (select attention_code as before from job_runs where job_id = $1 for update) as was
        where job_id = $1 and attempt = $2
        returning was.before is distinct from $3
        """,
        fence.job_id,
        fence.attempt,
        decision.code,
        decision.detail,
    )
    if newly is None:
        raise StaleRun
    if newly:
        await write_event(
            connection,
            fence.job_id,
            "job.attention",
            {"code": decision.code, "detail": decision.detail},
        )


async def unflag_run(connection: Connection, fence: Fence) -> None:
    code = await connection.fetchval(
        """
        update job_runs set attention_code = null, attention_since = null, attention_detail = null
        from (select attention_code as before from job_runs where job_id = $1 for update) as was
        where job_id = $1 and attempt = $2 and slot is not null and was.before is not null
        returning was.before
        """,
        fence.job_id,
        fence.attempt,
    )
    if code is None:
        raise StaleRun
    await write_event(connection, fence.job_id, "job.attention_over", {"code": code})


async def review_run(connection: Connection, fence: Fence, decision: Review) -> None:
    """Give back lane and slot, and call a person."""
    await flag_run(connection, fence, decision)
    await connection.execute(
        "update job_runs set lane_id = null, slot = null, lease_token = null,"
        " lease_expires_at = null where job_id = $1 and attempt = $2",
        fence.job_id,
        fence.attempt,
    )
    await write_event(connection, fence.job_id, "job.slot_released", {"code": decision.code})
    await wake(connection, QUEUE_CHANGED)


async def note_cancel(connection: Connection, fence: Fence) -> None:
    noted = await connection.fetchval(
        """
        update job_runs set cancel_requested_at = now()
        where job_id = $1 and attempt = $2 and cancel_requested_at is null
            and status in ('submitting', 'running')
        returning true
        """,
        fence.job_id,
        fence.attempt,
    )
    if noted is None:
        raise StaleRun
    await write_event(connection, fence.job_id, "job.cancel_asked", {"attempt": fence.attempt})
