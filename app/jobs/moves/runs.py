"""The moves between the statuses of an active run."""

from uuid import UUID

from app.billing.waste import book_waste
from app.jobs.events import PICTURES_WAITING, QUEUE_CHANGED, wake, write_event
from app.jobs.lifecycle import (
    UPSTREAM_MEMORY,
    Collect,
    Disown,
    Doubt,
    Fence,
    JobStatus,
    Requeue,
    Run,
)
from app.jobs.moves import StaleRun, move_run
from app.jobs.moves.attempts import close_attempt, write_task
from app.jobs.moves.orphans import claim_task, forget_guess
from app.jobs.queue.clocks import mark_waiting, refund
from app.kit.postgres.database import Connection

_CLEAR_ATTENTION = "attention_code = null, attention_since = null, attention_detail = null"


async def start_run(connection: Connection, fence: Fence, decision: Run) -> None:
    outcome = "adopted" if decision.adopted else "accepted"
    if not decision.adopted:
        await _take_back(connection, fence.job_id, decision.task_id)
    await move_run(
        connection,
        fence,
        JobStatus.RUNNING,
        "upstream_task_id = $5, submitted_at = (select intended_at from attempts a"
        " where a.job_id = $1 and a.number = $2), due_at = now(), lane_id = null,"
        " lease_token = null, lease_expires_at = null,"
        # A run without a slot stays a person's to look at until its task has ended.
        " attention_code = case when slot is null then attention_code end,"
        " attention_since = case when slot is null then attention_since end,"
        " attention_detail = case when slot is null then attention_detail end",
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
    await claim_task(connection, decision.task_id)
    await write_event(
        connection,
        fence.job_id,
        "job.running",
        {
            "attempt": fence.attempt,
            "outcome": outcome,
            "task_id": decision.task_id,
            "request_id": decision.request_id,
        },
    )


async def requeue_run(connection: Connection, fence: Fence, decision: Requeue) -> None:
    await close_attempt(connection, fence, decision)
    run = await move_run(
        connection,
        fence,
        JobStatus.QUEUED,
        "account_id = null, lane_id = null, slot = null, upstream_task_id = null,"
        " submitted_at = null, due_at = now() + make_interval(secs => $5), lease_token = null,"
        " lease_expires_at = null, task_failures = task_failures + $6,"
        " attention_code = case when $7 then attention_code end,"
        " attention_since = case when $7 then attention_since end,"
        " attention_detail = case when $7 then attention_detail end",
        decision.delay_seconds,
        int(decision.is_failure),
        decision.keeps_attention,
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
            "request_id": decision.request_id,
            "delay_seconds": round(decision.delay_seconds, 3),
        },
    )
    if decision.is_refunded:
        await refund(connection, run["model"], run["team_id"], run["n"])
    await mark_waiting(connection, run["model"], run["team_id"])
    await wake(connection, QUEUE_CHANGED)


async def doubt_run(connection: Connection, fence: Fence, decision: Doubt) -> None:
    doubted = await connection.fetchval(
        "update job_runs set lease_token = null, lease_expires_at = null, due_at = now()"
        " where job_id = $1 and attempt = $2 and status = 'submitting' returning true",
        fence.job_id,
        fence.attempt,
    )
    if doubted is None:
        raise StaleRun
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
    """The create is in doubt again; the task is left out of the next look for it.

    Its lane may be at work by now, and is not taken back.
    """
    await move_run(
        connection,
        fence,
        JobStatus.SUBMITTING,
        "upstream_task_id = null, submitted_at = null, due_at = now(), lane_id = null",
    )
    disowned = await connection.fetchval(
        """
        update attempts set outcome = 'unknown', settled_at = null, upstream_task_id = null,
            upstream_request_id = null, unlisted_at = null
        where job_id = $1 and number = $2 and outcome = 'adopted' and upstream_task_id = $3
        returning true
        """,
        fence.job_id,
        fence.attempt,
        decision.task_id,
    )
    if disowned is None:
        raise StaleRun
    if not decision.unclaimed:
        await connection.execute(_LEAVE_OUT, fence.job_id, fence.attempt, decision.task_id)
    await book_waste(connection, fence.job_id, decision.task_id, billed=decision.unclaimed)
    await write_event(
        connection,
        fence.job_id,
        "job.disowned",
        {
            "attempt": fence.attempt,
            "task_id": decision.task_id,
            "reason": decision.reason,
            "image_count": decision.unclaimed,
        },
    )


async def collect_run(connection: Connection, fence: Fence, decision: Collect) -> None:
    run = await move_run(
        connection,
        fence,
        JobStatus.FINALIZING,
        "slot = null, lane_id = null, due_at = now(),"
        f" expires_at = least($5::timestamptz, now()) + $6, {_CLEAR_ATTENTION}",
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


async def _take_back(connection: Connection, job_id: UUID, task_id: str) -> None:
    """A create's own answer outweighs what another job's create was guessed to have made.

    Raises StaleRun when that other job's pictures have come from the task.
    """
    guess = await connection.fetchrow(_FIND_GUESS, task_id, job_id)
    if guess is None:
        return
    fence = Fence(guess["job_id"], guess["number"])
    if guess["is_running"]:
        await disown_run(connection, fence, Disown(task_id, "the task's own create has answered"))
    elif guess["is_given_up"]:
        await forget_guess(connection, task_id)
    else:
        raise StaleRun


_FIND_GUESS = """
select attempts.job_id, attempts.number,
    coalesce(attempts.error_code in ('given_up', 'task_lost'), false) as is_given_up,
    coalesce(
        runs.status = 'running' and runs.attempt = attempts.number, false
    ) as is_running
from attempts left join job_runs as runs on runs.job_id = attempts.job_id
where attempts.upstream_task_id = $1 and attempts.outcome = 'adopted' and attempts.job_id <> $2
"""

_LEAVE_OUT = """
insert into orphans (upstream_task_id, account_id, model, job_id, attempt, is_ours, reason, state,
    settled_at)
select $3, account_id, model, job_id, $2, false, 'it is another request''s', 'foreign', now()
from job_runs where job_id = $1
on conflict (upstream_task_id) do nothing
"""
