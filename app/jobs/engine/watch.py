"""The look at an account's running tasks: one list call for all, one query per finished task."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from app.dashscope.client import DashScope, TaskWindow, UpstreamTrouble
from app.dashscope.payloads import ListedTask, TaskAnswer
from app.jobs.lifecycle import Fence
from app.kit.pace import Pace

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

WINDOW_SKEW = timedelta(minutes=2)
WINDOW_LIMIT = timedelta(hours=23, minutes=55)
PAGES_LIMIT = 20
UNLISTED_PATIENCE = timedelta(seconds=15)
"""A task that the list has not shown for that long since its submit is asked for by itself."""


@dataclass(frozen=True, slots=True)
class RunningTask:
    """A task of ours that the upstream has not been seen to finish."""

    fence: Fence
    task_id: str
    submitted_at: datetime
    prompt: str
    n: int
    adopted: bool
    unknown_for: timedelta | None = None
    """Since when the upstream says that it does not know the task."""
    age: timedelta = timedelta(0)
    """Since the intent, by the database's clock."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account's API and the pace of its two query limits."""

    upstream: DashScope
    list_pace: Pace
    query_pace: Pace


async def find_finished(
    view: AccountView, model: str, tasks: Sequence[RunningTask], *, now: datetime
) -> list[tuple[RunningTask, TaskAnswer]]:
    """The tasks that may have ended, each with the upstream's own answer about it.

    While the list cannot be had, each task is asked for by itself.
    """
    wanted = {task.task_id for task in tasks}
    since = min(task.submitted_at for task in tasks) - WINDOW_SKEW
    try:
        listed = {
            item.task_id: item
            for item in await list_tasks(view, model, since=since, now=now, wanted=wanted)
        }
    except UpstreamTrouble as error:
        log.warning("account.list_failed", reason=str(error))
        listed = {}
    suspects = [task for task in tasks if _may_have_ended(task, listed.get(task.task_id), now)]
    answers = await asyncio.gather(*(find_answer(view, task.task_id) for task in suspects))
    return [
        (task, answer)
        for task, answer in zip(suspects, answers, strict=True)
        if answer is not None
    ]


async def list_tasks(
    view: AccountView,
    model: str,
    *,
    since: datetime,
    now: datetime,
    wanted: set[str] | None = None,
) -> list[ListedTask]:
    """The account's tasks since then, page by page until all the wanted ones were seen.

    Raises UpstreamTrouble; also when all tasks are wanted, which is the default, and there are
    too many to have seen them all.
    """
    window = TaskWindow(model, max(since, now - WINDOW_LIMIT), now + WINDOW_SKEW)
    found: list[ListedTask] = []
    for page_number in range(1, PAGES_LIMIT + 1):
        await view.list_pace.take()
        page = await view.upstream.list_tasks(window, page=page_number)
        found += page.data
        if page_number >= page.total_page or not page.data:
            return found
        if wanted is not None and wanted <= {item.task_id for item in found}:
            return found
    if wanted is None:
        raise UpstreamTrouble(f"list: more than {PAGES_LIMIT} pages")
    return found


async def find_answer(view: AccountView, task_id: str) -> TaskAnswer | None:
    """What the upstream says of one task; None when it says nothing this time."""
    await view.query_pace.take()
    try:
        return await view.upstream.get_task(task_id)
    except UpstreamTrouble as error:
        log.warning("task.query_failed", task_id=task_id, reason=str(error))
        return None


def _may_have_ended(task: RunningTask, item: ListedTask | None, now: datetime) -> bool:
    if item is not None:
        return item.status.is_final
    return now - task.submitted_at > UNLISTED_PATIENCE
