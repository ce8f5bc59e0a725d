"""The look at an account's tasks over HTTP: the list for all, a query for one; paced."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from app.dashscope.client import DashScope, TaskWindow
from app.dashscope.outcomes import UpstreamTrouble
from app.dashscope.payloads import (
    FINAL_TASK_STATUSES,
    ListedTask,
    TaskAnswer,
    TaskPage,
    TaskStatus,
)
from app.jobs.core.candidates import CLOCK_MARGIN, ClockSkew, Period
from app.kit.background.pace import Pace

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

WINDOW_LIMIT = timedelta(hours=23, minutes=55)
PAGES_LIMIT = 20
"""A span with more pages is read in halves: the list is not known to page further."""
PAGES_LIMIT_OF_A_LOOK = 400
ANSWERS_KEPT = 500
"""Of tasks that may be somebody's: that many answers are remembered, some kilobytes each."""
LASTING = FINAL_TASK_STATUSES - {TaskStatus.UNKNOWN}
SHORTEST_SPAN = timedelta(seconds=2)
"""The list's filters are whole seconds."""


@dataclass(slots=True)
class AccountView:
    """One account's API and the pace of its two query limits."""

    upstream: DashScope
    list_pace: Pace
    query_pace: Pace
    others: tuple[DashScope, ...] = ()
    """The same over its other API keys: each sees the tasks of all."""

    def use_next_key(self) -> None:
        """After a call that failed: its key may have been revoked."""
        if self.others:
            self.upstream, self.others = self.others[0], (*self.others[1:], self.upstream)


@dataclass(slots=True)
class Listing:
    """What the list has shown of a period."""

    period: Period
    tasks: dict[str, ListedTask] = field(default_factory=dict)
    is_whole: bool = True
    """Every row that was announced came and could be read."""
    page_count: int = 0


def clip(period: Period, now: datetime, skew: ClockSkew) -> Period | None:
    """What of a period the upstream's list can tell at `now`, by the database; None: nothing."""
    until = min(period.until, now + skew.most + CLOCK_MARGIN)
    since = max(period.since, now + skew.least - WINDOW_LIMIT, until - WINDOW_LIMIT)
    return Period(since, until) if since < until else None


async def list_tasks(view: AccountView, model: str, period: Period) -> Listing:
    """All of the account's tasks of that time; a span with too many pages is read in halves.

    Raises UpstreamTrouble, also when there are too many to have seen them all.
    """
    listing = Listing(period)
    spans = [period]
    while spans:
        span = spans.pop()
        if not await _read_span(view, model, span, listing):
            spans += _halve(span)
    return listing


async def list_pages(view: AccountView, model: str, period: Period) -> AsyncGenerator[TaskPage]:
    """The account's tasks of that time page by page, for who needs not hold them all.

    `PAGES_LIMIT` at most. Raises UpstreamTrouble.
    """
    window = TaskWindow(model, period.since, period.until)
    for number in range(1, PAGES_LIMIT + 1):
        await view.list_pace.take()
        try:
            page = await view.upstream.list_tasks(window, page=number)
        except UpstreamTrouble:
            view.use_next_key()
            raise
        yield page
        if number >= page.total_page or not page.data:
            return


async def find_answer(view: AccountView, task_id: str) -> TaskAnswer | None:
    """What the upstream says of one task; None when it says nothing this time."""
    await view.query_pace.take()
    try:
        answer = await view.upstream.get_task(task_id)
    except UpstreamTrouble as error:
        log.warning("task.query_failed", task_id=task_id, reason=str(error))
        view.use_next_key()
        return None
    if answer.output.task_id != task_id:
        log.error("task.answered_as_another", task_id=task_id, named=answer.output.task_id)
        return None
    return answer


@dataclass(slots=True)
class FinalAnswers:
    """What tasks that have ended answer: it stays so. Each is asked once, however many ask."""

    kept: dict[str, TaskAnswer] = field(default_factory=dict, repr=False)
    asked: dict[str, "asyncio.Task[TaskAnswer | None]"] = field(default_factory=dict, repr=False)

    async def find(self, view: AccountView, task_id: str) -> TaskAnswer | None:
        """None when the upstream says nothing this time.

        That it does not know a task is no end: it may know it again.
        """
        if task_id in self.kept:
            return self.kept[task_id]
        asked = self.asked.get(task_id)
        if asked is None:
            asked = self.asked[task_id] = asyncio.create_task(find_answer(view, task_id))
            asked.add_done_callback(lambda _: self.asked.pop(task_id, None))
        answer = await asyncio.shield(asked)
        if answer is not None and answer.output.task_status in LASTING:
            self.kept[task_id] = answer
            if len(self.kept) > ANSWERS_KEPT:
                del self.kept[next(iter(self.kept))]
        return answer


async def cancel_task(view: AccountView, task_id: str) -> bool:
    """Ask the upstream to cancel a task that waits; False when it did not, for any reason."""
    await view.query_pace.take()
    try:
        return await view.upstream.cancel_task(task_id)
    except UpstreamTrouble as error:
        log.warning("task.cancel_failed", task_id=task_id, reason=str(error))
        view.use_next_key()
        return False


async def _read_span(view: AccountView, model: str, span: Period, listing: Listing) -> bool:
    """Read one span into the listing; False when it has too many pages to be read whole."""
    found: dict[str, ListedTask] = {}
    announced = unreadable = 0
    async with aclosing(list_pages(view, model, span)) as pages:
        async for page in pages:
            listing.page_count += 1
            if page.total_page > PAGES_LIMIT:
                return False
            if listing.page_count > PAGES_LIMIT_OF_A_LOOK:
                raise UpstreamTrouble(f"list: more than {PAGES_LIMIT_OF_A_LOOK} pages")
            announced = max(announced, page.total)
            unreadable += page.unreadable
            found |= {task.task_id: task for task in page.data}
    listing.tasks |= found
    listing.is_whole &= unreadable == 0 and len(found) >= announced
    return True


def _halve(span: Period) -> list[Period]:
    """Both halves hold the second in the middle; raises UpstreamTrouble when it is one second."""
    if span.until - span.since <= SHORTEST_SPAN:
        raise UpstreamTrouble(f"list: more than {PAGES_LIMIT} pages in a second")
    middle = span.since + (span.until - span.since) / 2
    return [Period(span.since, middle), Period(middle, span.until)]
