"""One account's running tasks followed to their end: a list for all, a query for what ended.

What is held of the running tasks is one page of their ids: it does not grow with them.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from uuid import UUID

import structlog

from app.accounts.paces import learn_key_id, to_run_times
from app.dashscope.outcomes import UpstreamTrouble
from app.dashscope.payloads import ListedTask, TaskStatus
from app.dashscope.upstream_clock import Offset, find_lead, measure_offset
from app.jobs.core.candidates import ClockSkew, to_upstream_period
from app.jobs.core.state import Answered, Spotted
from app.jobs.core.watch_pace import next_look_seconds
from app.jobs.engine.judge import Judge
from app.jobs.engine.watch import (
    AccountView,
    FinalAnswers,
    cancel_task,
    clip,
    find_answer,
    list_pages,
)
from app.jobs.lifecycle import CancelTask
from app.kit.background.chores import Apart
from app.kit.background.loop import wait_for_any
from app.kit.clock import elapsed_seconds
from app.kit.faultpoints import faultpoint
from app.kit.postgres.database import Pool, Record

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

PAGE = 1_000
UNLISTED_PATIENCE = timedelta(seconds=15)
"""A task that the list has not shown for that long since its submit is asked for by itself."""
UNLISTED_PAUSE_SECONDS = 5.0
"""And again after that long."""
UNLISTED_BATCH = 50
LOOKS_AT_ONCE = 50
LONGEST_REST_SECONDS = 30.0
"""At most, for what failed time and again."""
SHORTEST_REST = 0.2
"""Share of the usual pause that is left between two looks, however long one took."""
LONGEST_PAUSES = 5.0
"""How many times the usual pause the list is left alone while no task is likely to end."""


@dataclass(slots=True)
class AccountDesk:
    """What following an account's tasks needs."""

    judge: Judge
    account_id: UUID
    view: AccountView
    known_skew: ClockSkew | None = None
    """The clock of the list's times against the database's, as known tasks show it."""
    database_clock: Offset | None = None
    """The database's clock against this machine's, when it was last asked."""
    list_gaps: tuple[bool, bool] = (False, False)
    """Whether the last list hid known tasks, and whether it could not be read whole."""
    has_unnamed_keys: bool = True
    """Whether the upstream's name of some API key of the account is still to be learned."""
    page_ends: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    """The last task of the last look, when a model's running tasks are more than a page."""
    answers: FinalAnswers = field(default_factory=FinalAnswers)
    """Of finished tasks that have no owner yet."""
    works: dict[str, Apart] = field(default_factory=dict)
    """Each kind of work, with what failed lately in it and rests."""

    @property
    def pool(self) -> Pool:
        return self.judge.pool

    def apart(self, work: str) -> Apart:
        """That kind of work, whose items hold up no other when they fail."""
        if work not in self.works:
            self.works[work] = Apart(work, longest_pause_seconds=LONGEST_REST_SECONDS)
        return self.works[work]

    async def now(self) -> datetime:
        """The database's time, by which its clock is compared with the upstream's as well."""
        began = elapsed_seconds()
        now: datetime = await self.pool.fetchval("select clock_timestamp()")
        self.database_clock = measure_offset(now, began, elapsed_seconds())
        return now

    @property
    def skew(self) -> ClockSkew:
        """How the upstream's clock may differ from the database's, by all that was measured."""
        upstream_clock = self.view.upstream.clock.offset
        told = None
        if upstream_clock is not None and self.database_clock is not None:
            lead = find_lead(upstream_clock, self.database_clock)
            told = None if lead is None else ClockSkew(*lead)
        if told is None or self.known_skew is None:
            return told or self.known_skew or ClockSkew()
        return told.including(self.known_skew)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the follow loop waits between two looks, and what cuts the wait short."""

    base_seconds: float
    stop: asyncio.Event
    hint: asyncio.Event


async def follow_account(desk: AccountDesk, models: Sequence[str], patience: Patience) -> bool:
    """Look at all of the account's running tasks, then wait until the next look is worth it.

    The beat counts from look to look: how long the upstream took to answer hardly slows it.
    """
    patience.hint.clear()
    began = monotonic()
    pause = await follow_models(desk, models, patience.base_seconds)
    rest = max(pause - (monotonic() - began), patience.base_seconds * SHORTEST_REST)
    await wait_for_any(patience.stop, patience.hint, seconds=rest)
    return True


async def follow_models(desk: AccountDesk, models: Sequence[str], base_seconds: float) -> float:
    """Look once at all of the account's running tasks; the seconds after which to look again."""

    async def follow(model: str) -> float:
        ages_seconds = await follow_running(desk, model)
        return await _find_pause(desk, model, ages_seconds, base_seconds)

    pauses = await desk.apart("models").each(models, follow)
    return min(pauses, default=base_seconds)


async def follow_running(desk: AccountDesk, model: str) -> list[float]:
    """Look once at the account's running tasks and record those that ended.

    Returns the ages in seconds of those that go on, a page of them at most.
    """
    running = await _load_page(desk, model)
    if not running:
        return []
    listed = await _list(desk, model, running)
    final = [task_id for task_id, status in listed.items() if status.is_final]
    suspects = await desk.pool.fetch(
        _LOAD_SUSPECTS,
        desk.account_id,
        model,
        final,
        list(listed),
        [task_id for row in running if (task_id := row["upstream_task_id"]) not in listed],
        UNLISTED_PATIENCE,
        UNLISTED_PAUSE_SECONDS,
        UNLISTED_BATCH,
    )
    await desk.apart("tasks").each(
        suspects,
        partial(_look_at, desk, listed),
        key=lambda row: row["job_id"],
        at_once=LOOKS_AT_ONCE,
    )
    ended = set(final)
    return [row["age_seconds"] for row in running if row["upstream_task_id"] not in ended]


async def _find_pause(
    desk: AccountDesk, model: str, ages_seconds: Sequence[float], base_seconds: float
) -> float:
    """How long the next look can wait; with nothing to look at, no longer than usual."""
    if not ages_seconds:
        return base_seconds
    row = await desk.pool.fetchrow(_LOAD_RUN_TIMES, desk.account_id, model)
    if row is None:
        return base_seconds
    return next_look_seconds(
        ages_seconds,
        to_run_times(row),
        base_seconds=base_seconds,
        longest_seconds=base_seconds * LONGEST_PAUSES,
    )


async def _learn_key_names(desk: AccountDesk, listed: Sequence[ListedTask]) -> None:
    """A task that a key's own create was answered with shows the upstream's name of the key."""
    names = {item.task_id: item.api_key_id for item in listed}
    rows = await desk.pool.fetch(_LOAD_UNNAMED_KEYS, desk.account_id, list(names))
    desk.has_unnamed_keys = bool(rows)
    for row in rows:
        name = names.get(row["upstream_task_id"])
        if name is not None:
            await learn_key_id(desk.pool, row["lane_id"], name)


async def _load_page(desk: AccountDesk, model: str) -> list[Record]:
    end = desk.page_ends.pop(model, None)
    rows = await desk.pool.fetch(_LOAD_PAGE, desk.account_id, model, *(end or (None, "")), PAGE)
    if len(rows) == PAGE:
        desk.page_ends[model] = (rows[-1]["submitted_at"], rows[-1]["upstream_task_id"])
    elif end is not None and not rows:
        return await _load_page(desk, model)
    return rows


async def _list(desk: AccountDesk, model: str, running: Sequence[Record]) -> dict[str, TaskStatus]:
    """What the list shows of them, as far as it can be had: the others are asked for."""
    wanted = {row["upstream_task_id"] for row in running}
    now = await desk.now()
    asked = to_upstream_period(running[0]["submitted_at"], now, desk.skew)
    period = clip(asked, now, desk.skew)
    found: dict[str, TaskStatus] = {}
    if period is None:
        return found
    try:
        async with aclosing(list_pages(desk.view, model, period)) as pages:
            async for page in pages:
                items = [item for item in page.data if item.task_id in wanted]
                found |= {item.task_id: item.status for item in items}
                if desk.has_unnamed_keys and items:
                    await _learn_key_names(desk, items)
                if len(found) == len(wanted):
                    break
    except UpstreamTrouble as error:
        log.warning("account.list_failed", account_id=str(desk.account_id), reason=str(error))
    return found


async def _look_at(desk: AccountDesk, listed: dict[str, TaskStatus], row: Record) -> None:
    """Ask for one task, unless the list already says that it goes on."""
    task_id, attempt = row["upstream_task_id"], row["attempt"]
    status = listed.get(task_id)
    if status is not None and not status.is_final:
        actions = await desk.judge.hear_surely(row["job_id"], Spotted(attempt, status))
        for action in actions:
            if isinstance(action, CancelTask):
                await cancel_task(desk.view, action.task_id)
        return
    answer = await find_answer(desk.view, task_id)
    if answer is None:
        return
    faultpoint("task.answered")
    news = Answered(attempt, answer, is_listed=status is not None)
    await desk.judge.hear_surely(row["job_id"], news)
    faultpoint("task.recorded")


_LOAD_RUN_TIMES = """
select service_count, service_log_mean, service_log_variance from account_paces
where account_id = $1 and model = $2
"""

_LOAD_UNNAMED_KEYS = """
select distinct on (lanes.id) lanes.id as lane_id, attempts.upstream_task_id
from lanes left join attempts on attempts.lane_id = lanes.id
    and attempts.upstream_task_id = any($2) and attempts.outcome = 'accepted'
where lanes.account_id = $1 and lanes.removed_at is null and lanes.upstream_key_id is null
order by lanes.id, attempts.upstream_task_id
"""

_LOAD_PAGE = """
select upstream_task_id, submitted_at,
    extract(epoch from now() - submitted_at)::float8 as age_seconds
from job_runs
where account_id = $1 and model = $2 and status = 'running'
    and ($3::timestamptz is null or (submitted_at, upstream_task_id) > ($3, $4))
order by submitted_at, upstream_task_id limit $5
"""

_LOAD_SUSPECTS = """
with unlisted as (
    update job_runs set due_at = now() + make_interval(secs => $7)
    where job_id in (
        select job_id from job_runs
        where account_id = $1 and model = $2 and status = 'running'
            and upstream_task_id = any($5) and due_at <= now()
            and submitted_at < now() - $6::interval
        order by submitted_at limit $8
        for update skip locked
    )
    returning job_id, attempt, upstream_task_id, submitted_at
)
select job_id, attempt, upstream_task_id, submitted_at from unlisted
union all
select job_id, attempt, upstream_task_id, submitted_at from job_runs
where account_id = $1 and model = $2 and status = 'running' and upstream_task_id = any($4)
    and (
        upstream_task_id = any($3) or cancel_requested_at is not null
        or attention_code is not null
    )
order by submitted_at
"""
