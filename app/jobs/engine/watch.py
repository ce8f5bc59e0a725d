"""The look at an account's tasks over HTTP: the list for all, a query for one; paced."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from app.dashscope.client import DashScope, TaskWindow, UpstreamTrouble
from app.dashscope.payloads import ListedTask, TaskAnswer
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
    view: AccountView,
    model: str,
    *,
    since: datetime,
    now: datetime,
    until: datetime | None = None,
    wanted: set[str] | None = None,
) -> list[ListedTask]:
    """The account's tasks of that time, page by page until all the wanted ones were seen.

    Raises UpstreamTrouble; also when all tasks are wanted, which is the default, and there are
    too many to have seen them all.
    """
    end = now + WINDOW_SKEW
    end = end if until is None else min(until, end)
    window = TaskWindow(model, max(since, now - WINDOW_LIMIT), end)
    found: list[ListedTask] = []
    if window.since >= window.until:
        return found
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


async def cancel_task(view: AccountView, task_id: str) -> bool:
    """Ask the upstream to cancel a task that waits; False when it did not, for any reason."""
    await view.query_pace.take()
    try:
        return await view.upstream.cancel_task(task_id)
    except UpstreamTrouble as error:
        log.warning("task.cancel_failed", task_id=task_id, reason=str(error))
        return False
