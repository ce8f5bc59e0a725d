"""What is written beside the statuses: what a person must look at, and the wish to stop."""

from functools import partial

import structlog

from app.jobs.events import QUEUE_CHANGED, wake, write_event
from app.jobs.lifecycle import Fence, Flag, NoteUnlisted, Review
from app.jobs.moves import StaleRun
from app.kit.postgres.database import Connection, once_committed

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


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
        # Without the detail, which may name a result's address.
        told = {"job_id": str(fence.job_id), "attempt": fence.attempt, "code": decision.code}
        once_committed(partial(log.warning, "job.needs_attention", **told))
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


async def note_unlisted(connection: Connection, fence: Fence, decision: NoteUnlisted) -> None:
    """Note that a list that proves itself did not show a task of the attempt."""
    noted = await connection.fetchval(
        "update attempts set unlisted_at = $3 from job_runs as runs"
        " where attempts.job_id = $1 and number = $2 and runs.job_id = $1 and runs.attempt = $2"
        " and runs.status = 'submitting' returning true",
        fence.job_id,
        fence.attempt,
        decision.looked_at,
    )
    if noted is None:
        raise StaleRun


async def release_lane(connection: Connection, fence: Fence) -> None:
    """Let the API key of a create in doubt send the next one; the run keeps its slot."""
    released = await connection.fetchval(
        "update job_runs set lane_id = null where job_id = $1 and attempt = $2"
        " and status = 'submitting' and lane_id is not null returning true",
        fence.job_id,
        fence.attempt,
    )
    if released is None:
        raise StaleRun
    await write_event(connection, fence.job_id, "job.lane_released", {"attempt": fence.attempt})
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
