"""Tasks beyond their job's: found, watched, canceled while they can be, else booked as waste.

A create that was given up as never made is looked for once more: an upstream that makes a task
later than it was given time for bills it all the same.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import structlog

from app.dashscope.payloads import TaskAnswer, TaskStatus
from app.jobs.core.candidates import OpenCreate, group_by_window, weigh
from app.jobs.core.content import match_content
from app.jobs.core.state import Match
from app.jobs.engine.follow import AccountDesk
from app.jobs.engine.reconcile import (
    GIVEN_UP,
    find_match,
    find_unattached,
    list_for,
    load_creates,
    load_rivals,
    name_group,
)
from app.jobs.engine.watch import cancel_task, find_answer
from app.jobs.lifecycle import UPSTREAM_MEMORY, Fence, Orphan
from app.jobs.moves.orphans import note_orphan, settle_orphan
from app.kit.postgres.database import Record, transaction

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

LATE_WATCH = timedelta(hours=1)
"""Until how long after a create was given up its task may be made."""
LONGEST_RUN = timedelta(hours=3, minutes=10)
"""And how much longer it is looked for: whose it is, it tells at its end."""
FORGOTTEN_AFTER = 2 * UPSTREAM_MEMORY
"""From then on no answer about a task will come, whatever keeps it away."""
BATCH = 50
LATE_REASON = "the upstream made it after its create had been given up"


async def settle_orphans(desk: AccountDesk, model: str) -> bool:
    """Ask for each watched orphan once; says whether there are any."""
    orphans = await desk.pool.fetch(_LOAD_ORPHANS, desk.account_id, model, BATCH)
    apart = desk.apart("orphans")
    await apart.each(orphans, partial(_settle, desk), key=lambda row: row["upstream_task_id"])
    return bool(orphans)


async def find_late_tasks(desk: AccountDesk, model: str) -> bool:
    """Put down tasks of creates that were given up; says whether any is looked for.

    A task that an open create may have made is left to that one first.
    """
    creates = await load_creates(desk, model, GIVEN_UP, LATE_WATCH, LONGEST_RUN)
    await desk.apart("late tasks").each(
        group_by_window(creates), partial(_find_late_of, desk, model), key=name_group
    )
    return bool(creates)


async def _find_late_of(desk: AccountDesk, model: str, creates: Sequence[OpenCreate]) -> None:
    listing = await list_for(desk, model, creates)
    if listing is None:
        return
    tasks = tuple(listing.tasks.values())
    rivals = await load_rivals(desk, model, tasks)
    for create in creates:
        for task in filter(create.may_have_made, await find_unattached(desk, create, tasks)):
            match = await find_match(desk, task, create)
            if weigh(create, task, match, rivals).is_contested:
                continue
            if match is Match.SAME or (
                match is Match.UNCLEAR and not await _is_put_down(desk, task.task_id)
            ):
                await _put_down(desk, create, task.task_id)


async def _is_put_down(desk: AccountDesk, task_id: str) -> bool:
    """Of a task that several may have made, one at a time is enough: they would take turns."""
    is_put_down: bool = await desk.pool.fetchval(_IS_PUT_DOWN, task_id)
    return is_put_down


async def _put_down(desk: AccountDesk, create: OpenCreate, task_id: str) -> None:
    orphan = Orphan(task_id, LATE_REASON, is_ours=False)
    async with transaction(desk.pool) as connection:
        if await note_orphan(connection, Fence(create.job_id, create.attempt), orphan):
            log.warning("task.orphaned", job_id=str(create.job_id), task_id=task_id)


async def _settle(desk: AccountDesk, orphan: Record) -> None:
    task_id: str = orphan["upstream_task_id"]
    answer = await find_answer(desk.view, task_id)
    if answer is None:
        if orphan["age"] > FORGOTTEN_AFTER:
            await _end_watch(desk, task_id, "lost", 0)
        return
    if answer.output.task_status is TaskStatus.PENDING and orphan["is_ours"]:
        await cancel_task(desk.view, task_id)
        return
    state = _judge(orphan, answer)
    if state is None:
        return
    is_billed = state == "wasted" or _match(orphan, answer) is Match.UNCLEAR
    image_count = answer.image_count if is_billed else 0
    await _end_watch(desk, task_id, state, image_count)


async def _end_watch(desk: AccountDesk, task_id: str, state: str, image_count: int) -> None:
    async with transaction(desk.pool) as connection:
        settled = await settle_orphan(connection, task_id, state, image_count=image_count)
    if settled:
        log.warning("task.orphan_settled", task_id=task_id, state=state, image_count=image_count)


def _judge(orphan: Record, answer: TaskAnswer) -> str | None:
    """What an orphan has come to; None while it goes on."""
    status = answer.output.task_status
    if status in (TaskStatus.FAILED, TaskStatus.CANCELED):
        if orphan["is_ours"] and answer.image_count:
            return "wasted"
        return "free" if status is TaskStatus.FAILED else "canceled"
    match status:
        case TaskStatus.UNKNOWN:
            return "lost" if orphan["age"] > UPSTREAM_MEMORY else None
        case TaskStatus.SUCCEEDED:
            is_same = _match(orphan, answer) is Match.SAME
            return "wasted" if orphan["is_ours"] or is_same else "foreign"
    return None


def _match(orphan: Record, answer: TaskAnswer) -> Match:
    return match_content(answer, prompt=orphan["prompt"], n=orphan["n"])


_IS_PUT_DOWN = "select exists (select from orphans where upstream_task_id = $1)"

_LOAD_ORPHANS = """
select orphans.upstream_task_id, orphans.is_ours, now() - orphans.found_at as age, jobs.prompt,
    jobs.n
from orphans join jobs on jobs.id = orphans.job_id
where orphans.account_id = $1 and orphans.model = $2 and orphans.state = 'watched'
order by random() limit $3
"""
