"""One account's tasks followed to their end: running ones watched, doubtful ones looked up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from app.dashscope.client import UpstreamTrouble
from app.dashscope.payloads import ListedTask, TaskStatus
from app.jobs.engine.decide import after_disowning, after_list, after_query, answers_another
from app.jobs.engine.dispatch import record_surely
from app.jobs.engine.watch import (
    AccountView,
    RunningTask,
    find_answer,
    find_finished,
    list_tasks,
)
from app.jobs.lifecycle import Decision, Disown, Fence
from app.kit.clock import Clock
from app.kit.postgres.database import Pool

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

DOUBT_SKEW = timedelta(seconds=60)
"""How far the upstream's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class AccountDesk:
    """What following an account's tasks needs."""

    pool: Pool
    account_id: UUID
    view: AccountView
    clock: Clock
    settle: timedelta
    """How long after an intent its task may still appear."""


async def follow_running(desk: AccountDesk, models: Sequence[str]) -> bool:
    """Look once at the account's running tasks and record those that ended."""
    for model in models:
        tasks = await _load_running(desk, model)
        if not tasks:
            continue
        for task, answer in await find_finished(desk.view, model, tasks, now=desk.clock()):
            decision = after_query(
                answer,
                asked_prompt=task.prompt,
                asked_n=task.n,
                adopted=task.adopted,
                unknown_for=task.unknown_for,
            )
            if isinstance(decision, Disown):
                decision = await _look_again(desk, model, task, decision)
            if decision is not None:
                await record_surely(desk.pool, task.fence, decision)
    return False


async def resolve_doubts(desk: AccountDesk, models: Sequence[str]) -> bool:
    """Look in the upstream's list for creates whose outcome was lost, and record what it says."""
    for model in models:
        for row in await desk.pool.fetch(_LOAD_DOUBTS, desk.account_id, model):
            doubt = _Doubtful(
                fence=Fence(row["job_id"], row["attempt"]),
                model=model,
                prompt=row["prompt"],
                n=row["n"],
                intended_at=row["intended_at"],
                age=row["age"],
            )
            decision = await _judge(desk, doubt)
            if decision is not None:
                await record_surely(desk.pool, doubt.fence, decision)
    return False


@dataclass(frozen=True, slots=True)
class _Doubtful:
    """A create that may have made a task."""

    fence: Fence
    model: str
    prompt: str = field(repr=False)
    n: int
    intended_at: datetime
    age: timedelta


async def _look_again(
    desk: AccountDesk, model: str, task: RunningTask, disowned: Disown
) -> Decision | None:
    doubt = _Doubtful(
        fence=task.fence,
        model=model,
        prompt=task.prompt,
        n=task.n,
        intended_at=task.submitted_at,
        age=task.age,
    )
    return after_disowning(disowned, await _judge(desk, doubt))


async def _judge(desk: AccountDesk, doubt: _Doubtful) -> Decision | None:
    """What the upstream's list says of a create; None when it does not say yet."""
    now = desk.clock()
    since = doubt.intended_at - DOUBT_SKEW
    try:
        listed = await list_tasks(desk.view, doubt.model, since=since, now=now)
    except UpstreamTrouble as error:
        log.warning("account.list_failed", account_id=str(desk.account_id), reason=str(error))
        return None
    until = doubt.intended_at + desk.settle + DOUBT_SKEW
    window = [task for task in listed if since <= task.gmt_create <= until]
    unattached, is_contested = await _look_for_owners(desk, doubt, window)
    unattached = await _leave_out_others(desk, doubt, unattached)
    return after_list(unattached, is_contested=is_contested, age=doubt.age, settle=desk.settle)


async def _look_for_owners(
    desk: AccountDesk, doubt: _Doubtful, tasks: Sequence[ListedTask]
) -> tuple[list[ListedTask], bool]:
    """The tasks that are nobody's yet, and whether another open create may be theirs."""
    row = await desk.pool.fetchrow(
        _LOOK_FOR_OWNERS,
        [task.task_id for task in tasks],
        desk.account_id,
        doubt.model,
        doubt.fence.job_id,
    )
    assert row is not None
    unattached = [task for task in tasks if task.task_id not in row["attached"]]
    rival: datetime | None = row["first_rival_at"]
    is_contested = rival is not None and any(
        rival - DOUBT_SKEW <= task.gmt_create for task in unattached
    )
    return unattached, is_contested


async def _leave_out_others(
    desk: AccountDesk, doubt: _Doubtful, tasks: Sequence[ListedTask]
) -> list[ListedTask]:
    """The tasks without those that ended in nothing, or with the pictures of another request.

    A task without pictures is not billed: if it was this create's, sending it again is free.
    """
    left = []
    for task in tasks:
        if task.status in (TaskStatus.FAILED, TaskStatus.CANCELED):
            continue
        answer = await find_answer(desk.view, task.task_id) if task.status.is_final else None
        is_anothers = answer is not None and answers_another(
            answer, asked_prompt=doubt.prompt, asked_n=doubt.n
        )
        if not is_anothers:
            left.append(task)
    return left


async def _load_running(desk: AccountDesk, model: str) -> list[RunningTask]:
    rows = await desk.pool.fetch(_LOAD_RUNNING, desk.account_id, model)
    return [
        RunningTask(
            fence=Fence(row["job_id"], row["attempt"]),
            task_id=row["upstream_task_id"],
            submitted_at=row["submitted_at"],
            prompt=row["prompt"],
            n=row["n"],
            adopted=row["adopted"],
            unknown_for=row["unknown_for"],
            age=row["age"],
        )
        for row in rows
    ]


_LOAD_RUNNING = """
select runs.job_id, runs.attempt, runs.upstream_task_id, runs.submitted_at, jobs.prompt,
    jobs.n, attempts.outcome = 'adopted' as adopted,
    case when runs.attention_code = 'task_unknown' then now() - runs.attention_since end
        as unknown_for, now() - runs.submitted_at as age
from job_runs as runs
join jobs on jobs.id = runs.job_id
join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
where runs.account_id = $1 and runs.model = $2 and runs.status = 'running'
order by runs.submitted_at
"""

_LOAD_DOUBTS = """
select runs.job_id, runs.attempt, jobs.prompt, jobs.n, attempts.intended_at,
    now() - attempts.intended_at as age
from job_runs as runs
join jobs on jobs.id = runs.job_id
join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
where runs.account_id = $1 and runs.model = $2 and runs.status = 'submitting'
    and (runs.lease_expires_at is null or runs.lease_expires_at < now())
order by attempts.intended_at
"""

_LOOK_FOR_OWNERS = """
select
    array(select upstream_task_id from attempts where upstream_task_id = any($1)) as attached,
    (
        select min(attempts.intended_at) from job_runs as runs
        join attempts on attempts.job_id = runs.job_id and attempts.number = runs.attempt
        join accounts on accounts.id = runs.account_id
        where runs.model = $3 and runs.status = 'submitting'
            and accounts.base_url = (select base_url from accounts where id = $2)
            and runs.job_id <> $4
    ) as first_rival_at
"""
