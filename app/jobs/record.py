"""The only way a status changes: run, attempt, event, money and wake-up in one transaction."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import assert_never
from uuid import UUID

import structlog

from app.billing.ledger import release_whole, settle
from app.billing.money import format_amount
from app.billing.usage import add_usage
from app.jobs.events import QUEUE_CHANGED, wake, write_event, write_events
from app.jobs.lifecycle import (
    Collect,
    Decision,
    Disown,
    Doubt,
    Fail,
    Fence,
    Flag,
    JobStatus,
    NoteCancel,
    NoteUnlisted,
    Orphan,
    ReleaseLane,
    Requeue,
    Review,
    Run,
    Stop,
    Unflag,
    sources_of,
)
from app.jobs.moves import StaleRun
from app.jobs.moves.attempts import (
    book_rest,
    close_attempt,
    give_up_task,
    settle_attempt,
    write_task,
)
from app.jobs.moves.flags import (
    flag_run,
    note_cancel,
    note_unlisted,
    release_lane,
    review_run,
    unflag_run,
)
from app.jobs.moves.orphans import note_orphan
from app.jobs.moves.runs import collect_run, disown_run, doubt_run, requeue_run, start_run
from app.kit.postgres.database import Connection, Record, once_committed

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

EXPIRED_ERROR = ("expired", "the job was not started before its time was over")


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
        case Stop():
            await _stop(connection, fence, decision)
        case _:
            await _note(connection, fence, decision)


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
        returning submitted_at, slot
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
    await book_rest(connection, fence, delivered=job["image_count"])
    detail = {"image_count": job["image_count"]}
    if error is not None:
        detail |= {"code": error[0], "message": error[1]}
    await write_event(connection, fence.job_id, f"job.{status}", detail)
    once_committed(partial(_log_end, job))
    if run["slot"] is not None:
        await wake(connection, QUEUE_CHANGED)


def _log_end(job: Record) -> None:
    log.info(
        "job.ended",
        job_id=str(job["id"]),
        status=job["status"],
        team=job["team"],
        account=job["account"],
        image_count=job["image_count"],
        amount=format_amount(job["amount"]),
        currency=job["currency"],
        seconds=round(float(job["seconds"]), 1),
        code=job["error_code"],
    )


async def end_expired(connection: Connection, job_ids: Sequence[UUID]) -> int:
    """Take queued jobs that are over and were never sent to their end, and say how many did.

    The same as `end` of each. What was sent once goes there: it may have cost something.
    """
    runs = await connection.fetch(
        _TAKE_EXPIRED, list(job_ids), list(sources_of(JobStatus.EXPIRED))
    )
    if not runs:
        return 0
    ended_ids = [run["job_id"] for run in runs]
    jobs = await connection.fetch(_END_UNSENT, ended_ids, JobStatus.EXPIRED, *EXPIRED_ERROR)
    assert len(jobs) == len(ended_ids)
    at: datetime = jobs[0]["finished_at"]
    await release_whole(
        connection,
        [job["id"] for job in jobs],
        [job["reserved"] for job in jobs],
        [job["currency"] for job in jobs],
        at=at,
    )
    owners = Counter(
        (job["team_id"], job["key_id"], job["model"], job["currency"]) for job in jobs
    )
    for (team_id, key_id, model, currency), count in sorted(owners.items()):
        await add_usage(
            connection,
            team_id=team_id,
            key_id=key_id,
            model=model,
            currency=currency,
            status=JobStatus.EXPIRED,
            image_count=0,
            amount=Decimal(0),
            at=at,
            jobs=count,
        )
    code, message = EXPIRED_ERROR
    detail = {"image_count": 0, "code": code, "message": message}
    await write_events(connection, ended_ids, f"job.{JobStatus.EXPIRED}", detail)
    once_committed(partial(log.info, "jobs.expired_unsent", jobs=len(ended_ids)))
    return len(ended_ids)


async def _note(
    connection: Connection,
    fence: Fence,
    decision: NoteCancel | Flag | Unflag | Review | NoteUnlisted | ReleaseLane | Orphan,
) -> None:
    match decision:
        case NoteCancel():
            await note_cancel(connection, fence)
        case Flag():
            await flag_run(connection, fence, decision)
        case Unflag():
            await unflag_run(connection, fence)
        case Review():
            await review_run(connection, fence, decision)
        case NoteUnlisted():
            await note_unlisted(connection, fence, decision)
        case ReleaseLane():
            await release_lane(connection, fence)
        case Orphan():
            await note_orphan(connection, fence, decision)
        case _:
            assert_never(decision)


async def _fail(connection: Connection, fence: Fence, decision: Fail) -> None:
    if decision.task is None:
        await settle_attempt(connection, fence, decision.outcome, decision)
    else:
        await give_up_task(connection, fence, decision)
    await end(connection, fence, JobStatus.FAILED, error=(decision.code, decision.message))


async def _stop(connection: Connection, fence: Fence, decision: Stop) -> None:
    if decision.instead_of is not None:
        await close_attempt(connection, fence, decision.instead_of)
    elif decision.task is not None:
        await write_task(connection, fence, decision.task)
    error = EXPIRED_ERROR if decision.status is JobStatus.EXPIRED else None
    await end(connection, fence, decision.status, error=error)


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
returning id, team_id, key_id, model, n, image_count, unit_price, currency, amount, jobs.status,
    finished_at, error_code, extract(epoch from finished_at - created_at) as seconds,
    (select name from teams where teams.id = jobs.team_id) as team,
    (
        select name from attempts join accounts on accounts.id = attempts.account_id
        where attempts.job_id = jobs.id order by number desc limit 1
    ) as account
"""

# Whoever holds a run is about to move it: the next sweep sees what became of it.
_TAKE_EXPIRED = """
delete from job_runs where job_id in (
    select job_id from job_runs
    where job_id = any($1) and status = any($2) and attempt = 0 and expires_at <= now()
    order by job_id for update skip locked
)
returning job_id
"""

_END_UNSENT = """
update jobs set status = $2, finished_at = now(), error_code = $3, error_message = $4,
    image_count = 0, amount = 0
where id = any($1) and status is null
returning id, team_id, key_id, model, currency, unit_price * n as reserved, finished_at
"""
