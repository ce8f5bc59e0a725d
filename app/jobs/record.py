"""The only way a status changes: run, attempt, event, money and wake-up in one transaction."""

from datetime import datetime
from typing import assert_never

from app.billing.ledger import settle
from app.billing.usage import add_usage
from app.jobs.events import QUEUE_CHANGED, wake, write_event
from app.jobs.lifecycle import (
    Collect,
    Decision,
    Disown,
    Doubt,
    Fail,
    Fence,
    Flag,
    JobStatus,
    Requeue,
    Run,
    sources_of,
)
from app.jobs.moves import (
    StaleRun,
    collect_run,
    disown_run,
    doubt_run,
    flag_run,
    requeue_run,
    settle_attempt,
    start_run,
    write_task,
)
from app.kit.postgres.database import Connection, Record


async def record(connection: Connection, fence: Fence, decision: Decision) -> None:
    """Write a decision; raises StaleRun. The caller holds the transaction."""
    match decision:
        case Run():
            await start_run(connection, fence, decision)
        case Requeue():
            await requeue_run(connection, fence, decision)
        case Doubt():
            await doubt_run(connection, fence, decision)
        case Disown():
            await disown_run(connection, fence, decision)
        case Collect():
            await collect_run(connection, fence, decision)
        case Fail():
            await _fail(connection, fence, decision)
        case Flag():
            await flag_run(connection, fence, decision)
        case _:
            assert_never(decision)


async def end(
    connection: Connection,
    fence: Fence,
    status: JobStatus,
    *,
    error: tuple[str, str] | None = None,
) -> None:
    """Take a job to its end: the run goes, the job keeps the outcome, the money is settled."""
    run = await connection.fetchrow(
        """
        delete from job_runs where job_id = $1 and attempt = $2 and status = any($3)
        returning submitted_at
        """,
        fence.job_id,
        fence.attempt,
        list(sources_of(status)),
    )
    if run is None:
        raise StaleRun
    job = await connection.fetchrow(
        _END_JOB, fence.job_id, status, run["submitted_at"], *(error or (None, None))
    )
    assert job is not None
    await _settle(connection, job)
    detail = {"image_count": job["image_count"]}
    if error is not None:
        detail |= {"code": error[0], "message": error[1]}
    await write_event(connection, fence.job_id, f"job.{status}", detail)
    await wake(connection, QUEUE_CHANGED)


async def _fail(connection: Connection, fence: Fence, decision: Fail) -> None:
    if decision.task is None:
        await settle_attempt(connection, fence, decision.outcome, decision)
    else:
        await write_task(connection, fence, decision.task)
    await end(connection, fence, JobStatus.FAILED, error=(decision.code, decision.message))


async def _settle(connection: Connection, job: Record) -> None:
    at: datetime = job["finished_at"]
    await settle(
        connection,
        job_id=job["id"],
        team_id=job["team_id"],
        n=job["n"],
        image_count=job["image_count"],
        unit_price=job["unit_price"],
        currency=job["currency"],
        at=at,
    )
    await add_usage(
        connection,
        team_id=job["team_id"],
        key_id=job["key_id"],
        model=job["model"],
        currency=job["currency"],
        status=job["status"],
        image_count=job["image_count"],
        amount=job["amount"],
        at=at,
    )


_END_JOB = """
update jobs set status = $2, finished_at = now(), submitted_at = $3, error_code = $4,
    error_message = $5, image_count = kept.count, amount = unit_price * kept.count
from (
    select count(*)::smallint as count from pictures where job_id = $1 and status = 'kept'
) as kept
where id = $1 and jobs.status is null
returning jobs.*
"""
