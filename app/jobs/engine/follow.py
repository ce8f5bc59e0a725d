"""One account's tasks followed to their end: running ones watched, doubtful ones looked up."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from app.dashscope.client import UpstreamTrouble
from app.dashscope.payloads import ListedTask
from app.jobs.engine.decide import after_list, after_query
from app.jobs.engine.dispatch import record_surely
from app.jobs.engine.watch import AccountView, RunningTask, find_finished, list_tasks
from app.jobs.lifecycle import Fence
from app.kit.clock import Clock
from app.kit.database import Pool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

DOUBT_SKEW = timedelta(seconds=5)
"""How far the upstream's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class AccountDesk:
    """What following an account's tasks needs."""

    pool: Pool
    account_id: UUID
    view: AccountView
    clock: Clock
    submit_timeout: timedelta
    settle: timedelta


async def follow_running(desk: AccountDesk, models: Sequence[str]) -> bool:
    """Look once at the account's running tasks and record those that ended."""
    for model in models:
        tasks = await _load_running(desk, model)
        if not tasks:
            continue
        try:
            ended = await find_finished(desk.view, model, tasks, now=desk.clock())
        except UpstreamTrouble as error:
            log.warning("account.list_failed", account_id=str(desk.account_id), reason=str(error))
            continue
        for task, answer in ended:
            decision = after_query(answer, asked_prompt=task.prompt, adopted=task.adopted)
            if decision is not None:
                await record_surely(desk.pool, task.fence, decision)
    return False


async def resolve_doubts(desk: AccountDesk, models: Sequence[str]) -> bool:
    """Look in the upstream's list for creates whose outcome was lost, and record what it says."""
    for model in models:
        for doubt in await desk.pool.fetch(_LOAD_DOUBTS, desk.account_id, model):
            await _resolve(
                desk, model, Fence(doubt["job_id"], doubt["attempt"]), doubt["intended_at"]
            )
    return False


async def _resolve(desk: AccountDesk, model: str, fence: Fence, intended_at: datetime) -> None:
    now = desk.clock()
    try:
        listed = await list_tasks(
            desk.view, model, since=intended_at - DOUBT_SKEW, now=now, wanted=set()
        )
    except UpstreamTrouble as error:
        log.warning("account.list_failed", account_id=str(desk.account_id), reason=str(error))
        return
    decision = after_list(
        await _unattached(desk, listed, intended_at),
        intended_at=intended_at,
        now=now,
        settle=desk.submit_timeout + desk.settle,
    )
    if decision is not None:
        await record_surely(desk.pool, fence, decision)


async def _unattached(
    desk: AccountDesk, listed: Sequence[ListedTask], intended_at: datetime
) -> list[ListedTask]:
    earliest = intended_at - DOUBT_SKEW
    latest = intended_at + desk.submit_timeout + desk.settle + DOUBT_SKEW
    window = [task for task in listed if earliest <= task.gmt_create <= latest]
    known = await desk.pool.fetch(
        "select upstream_task_id from attempts where upstream_task_id = any($1)",
        [task.task_id for task in window],
    )
    attached = {row["upstream_task_id"] for row in known}
    return [task for task in window if task.task_id not in attached]


async def _load_running(desk: AccountDesk, model: str) -> list[RunningTask]:
    rows = await desk.pool.fetch(_LOAD_RUNNING, desk.account_id, model)
    return [
        RunningTask(
            fence=Fence(row["job_id"], row["attempt"]),
            task_id=row["upstream_task_id"],
            submitted_at=row["submitted_at"],
            prompt=row["prompt"],
            adopted=row["adopted"],
        )
        for row in rows
    ]


_LOAD_RUNNING = """
select runs.job_id, runs.attempt, runs.upstream_task_id, runs.submitted_at, jobs.prompt,
    attempts.outcome = 'adopted' as adopted
from job_runs as runs
join jobs on jobs.id = runs.job_id
join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
where runs.account_id = $1 and runs.model = $2 and runs.status = 'running'
order by runs.submitted_at
"""

_LOAD_DOUBTS = """
select runs.job_id, runs.attempt, attempts.intended_at
from job_runs as runs
join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
where runs.account_id = $1 and runs.model = $2 and runs.status = 'submitting'
    and (runs.lease_expires_at is null or runs.lease_expires_at < now())
order by attempts.intended_at
"""
