"""The look at an account's tasks over HTTP: the list for all, a query for one; paced."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from app.dashscope.client import DashScope, TaskWindow, UpstreamTrouble
from app.dashscope.payloads import ListedTask, TaskAnswer, TaskPage
from app.kit.pace import Pace

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

WINDOW_SKEW = timedelta(minutes=2)
WINDOW_LIMIT = timedelta(hours=23, minutes=55)
PAGES_LIMIT = 20


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account's API and the pace of its two query limits."""

    upstream: DashScope
    list_pace: Pace
    query_pace: Pace


async def list_tasks(
    view: AccountView, model: str, *, since: datetime, now: datetime, until: datetime | None = None
) -> list[ListedTask]:
    """All of the account's tasks of that time.

    Raises UpstreamTrouble, also when there are too many to have seen them all.
    """
    found: list[ListedTask] = []
    async with aclosing(list_pages(view, model, since=since, now=now, until=until)) as pages:
        async for page in pages:
            if page.total_page > PAGES_LIMIT:
                raise UpstreamTrouble(f"list: more than {PAGES_LIMIT} pages")
            found += page.data
    return found


async def list_pages(
    view: AccountView, model: str, *, since: datetime, now: datetime, until: datetime | None = None
) -> AsyncGenerator[TaskPage]:
    """The same page by page, for who needs not hold them all; `PAGES_LIMIT` at most.

    Raises UpstreamTrouble.
    """
    end = now + WINDOW_SKEW
    end = end if until is None else min(until, end)
    window = TaskWindow(model, max(since, now - WINDOW_LIMIT), end)
    if window.since >= window.until:
        return
    for number in range(1, PAGES_LIMIT + 1):
        await view.list_pace.take()
        page = await view.upstream.list_tasks(window, page=number)
        yield page
        if number >= page.total_page or not page.data:
            return


async def find_answer(view: AccountView, task_id: str) -> TaskAnswer | None:
    """What the upstream says of one task; None when it says nothing this time."""
    await view.query_pace.take()
    try:
        return await view.upstream.get_task(task_id)
    except UpstreamTrouble as error:
        log.warning("task.query_failed", task_id=task_id, reason=str(error))
        return None


async def cancel_task(view: AccountView, task_id: str) -> bool:
    """Ask the upstream to cancel a task that waits; False when it did not, for any reason."""
    await view.query_pace.take()
    try:
        return await view.upstream.cancel_task(task_id)
    except UpstreamTrouble as error:
        log.warning("task.cancel_failed", task_id=task_id, reason=str(error))
        return False
