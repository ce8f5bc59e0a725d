"""Moves of an active run, each fenced: row, attempt and event in the caller's transaction.

A write finds its run by (job, attempt, status): zero rows means that another hand was first, and
StaleRun tells the caller to drop its news.
"""

from app.jobs.events import PICTURES_WAITING, QUEUE_CHANGED, wake, write_event
from app.jobs.lifecycle import (
    UPSTREAM_MEMORY,
    Collect,
    Disown,
    Doubt,
    Fail,
    Fence,
    Flag,
    JobStatus,
    Requeue,
    Run,
    TaskFacts,
    sources_of,
)
from app.kit.postgres.database import Connection, Record

_BACK_IN_QUEUE = (
    "account_id = null, lane_id = null, slot = null, upstream_task_id = null, submitted_at = null,"
    " due_at = now() + make_interval(secs => $5), lease_token = null, lease_expires_at = null,"
    " attention_code = null, attention_since = null, attention_detail = null"
)


class StaleRun(Exception):
    """The run has moved on under another hand; what was to be written is dropped."""


async def start_run(connection: Connection, fence: Fence, decision: Run) -> None:
    outcome = "adopted" if decision.adopted else "accepted"
    await _move(
        connection,
        fence,
        JobStatus.RUNNING,
        "upstream_task_id = $5, submitted_at = (select intended_at from attempts a"
        " where a.job_id = $1 and a.number = $2), due_at = now(), lease_token = null,"
        " lease_expires_at = null, attention_code = null, attention_since = null,"
        " attention_detail = null",
        decision.task_id,
    )
    await connection.execute(
        """
        update attempts set outcome = $3, settled_at = now(), upstream_task_id = $4,
            upstream_request_id = $5
        where job_id = $1 and number = $2
        """,
        fence.job_id,
        fence.attempt,
        outcome,
        decision.task_id,
        decision.request_id,
    )
    await write_event(
        connection,
        fence.job_id,
        "job.running",
        {"attempt": fence.attempt, "outcome": outcome, "request_id": decision.request_id},
    )


async def requeue_run(connection: Connection, fence: Fence, decision: Requeue) -> None:
    await settle_attempt(connection, fence, decision.outcome, decision)
    freed = await _move(
        connection, fence, JobStatus.QUEUED, _BACK_IN_QUEUE, decision.delay_seconds
    )
    if decision.pause_seconds > 0:
        await connection.execute(
            """
            update account_paces set pause_code = $3,
                paused_until = greatest(paused_until, now() + make_interval(secs => $4))
            where account_id = $1 and model = $2
            """,
            freed["old_account_id"],
            freed["model"],
            decision.code,
            decision.pause_seconds,
        )
    await write_event(
        connection,
        fence.job_id,
        "job.requeued",
        {
            "attempt": fence.attempt,
            "outcome": decision.outcome,
            "code": decision.code,
            "message": decision.message,
            "pause_seconds": decision.pause_seconds,
            "delay_seconds": decision.delay_seconds,
        },
    )


async def doubt_run(connection: Connection, fence: Fence, decision: Doubt) -> None:
    await _touch(connection, fence, "lease_token = null, lease_expires_at = null, due_at = now()")
    await connection.execute(
        """
        update attempts set outcome = 'unknown', http_status = $3, error_message = $4
        where job_id = $1 and number = $2
        """,
        fence.job_id,
        fence.attempt,
        decision.http_status,
        decision.reason,
    )
    await write_event(
        connection,
        fence.job_id,
        "job.submission_unknown",
        {"attempt": fence.attempt, "reason": decision.reason},
    )


async def disown_run(connection: Connection, fence: Fence, decision: Disown) -> None:
    disowned = await connection.fetchval(
        """
        update attempts set outcome = 'absent', settled_at = now(), upstream_task_id = null,
            error_code = 'wrong_task', error_message = $4
        where job_id = $1 and number = $2 and outcome = 'adopted' and upstream_task_id = $3
        returning true
        """,
        fence.job_id,
        fence.attempt,
        decision.task_id,
        decision.reason,
    )
    if disowned is None:
        raise StaleRun
    await _move(connection, fence, JobStatus.QUEUED, _BACK_IN_QUEUE, 0.0)
    await write_event(
        connection,
        fence.job_id,
        "job.disowned",
        {"attempt": fence.attempt, "task_id": decision.task_id, "reason": decision.reason},
    )


async def collect_run(connection: Connection, fence: Fence, decision: Collect) -> None:
    run = await _move(
        connection,
        fence,
        JobStatus.FINALIZING,
        "slot = null, due_at = now(), expires_at = coalesce($5::timestamptz, now()) + $6",
        decision.task.ended_at,
        UPSTREAM_MEMORY,
    )
    await connection.executemany(
        """
        insert into pictures (job_id, index, status, source_url, source_expires_at,
            actual_prompt, error_code, error_message)
        values ($1, $2, case when $3::text is null then 'failed' else 'upstream' end,
            $3, case when $3::text is null then null else $4::timestamptz end, $5, $6, $7)
        """,
        [
            (
                fence.job_id,
                picture.index,
                picture.url,
                run["expires_at"],
                picture.actual_prompt,
                picture.error_code,
                picture.error_message,
            )
            for picture in decision.pictures
        ],
    )
    await write_task(connection, fence, decision.task)
    await write_event(
        connection, fence.job_id, "job.finalizing", {"image_count": decision.task.image_count}
    )
    await wake(connection, PICTURES_WAITING)
    await wake(connection, QUEUE_CHANGED)


async def flag_run(connection: Connection, fence: Fence, decision: Flag) -> None:
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


async def _move(
    connection: Connection, fence: Fence, target: JobStatus, changes: str, *values: object
) -> Record:
    """Move a run to a status that the lifecycle allows; `changes` count values from $5 on."""
    row = await connection.fetchrow(
        f"""
        update job_runs set status = $4, {changes}
        from (select account_id as old_account_id from job_runs where job_id = $1) as was
        where job_id = $1 and attempt = $2 and status = any($3)
        returning model, old_account_id, expires_at
        """,
        fence.job_id,
        fence.attempt,
        list(sources_of(target)),
        target,
        *values,
    )
    if row is None:
        raise StaleRun
    return row


async def _touch(connection: Connection, fence: Fence, changes: str) -> None:
    row = await connection.fetchrow(
        f"update job_runs set {changes} where job_id = $1 and attempt = $2"
        " and status = 'submitting' returning job_id",
        fence.job_id,
        fence.attempt,
    )
    if row is None:
        raise StaleRun


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
