"""Creates whose answer was lost, looked up in the upstream's own list: one for all of them."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog

from app.dashscope.outcomes import UpstreamTrouble
from app.dashscope.payloads import ListedTask
from app.jobs.core.candidates import (
    OpenCreate,
    Period,
    group_by_window,
    pick_unattached,
    to_upstream_period,
    weigh,
)
from app.jobs.core.content import match_content
from app.jobs.core.doubts import REVIEW_CODE
from app.jobs.core.proof import KnownTask, Look, measure_change, measure_skew, weigh_list
from app.jobs.core.state import Listed, Match
from app.jobs.engine.follow import AccountDesk
from app.jobs.engine.watch import Listing, clip, list_tasks
from app.kit.faultpoints import faultpoint

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

DOUBTS_AT_ONCE = 50
KNOWN_LIMIT = 200
"""Known tasks of the creates' own time that must show."""
KNOWN_AROUND = 3  # before it, and after it


async def resolve_doubts(desk: AccountDesk, model: str) -> bool:
    """Look in the upstream's list for creates whose outcome was lost, and decide about each.

    Says whether there are any. Those of one time share a look, so that an old one, for which
    there may be too much to list, holds up no other.
    """
    return await _resolve_each(desk, model, DOUBTFUL)


async def resolve_reviews(desk: AccountDesk, model: str) -> bool:
    """The same for creates that a person must look at: they may still clear up by themselves.

    They may stay for days, so they are worth a look more rarely.
    """
    return await _resolve_each(desk, model, IN_REVIEW)


async def _resolve_each(desk: AccountDesk, model: str, which: str) -> bool:
    doubts = await load_creates(desk, model, which, desk.judge.rules.settle)
    await desk.apart("looks").each(
        group_by_window(doubts), partial(_resolve, desk, model), key=name_group
    )
    return bool(doubts)


def name_group(creates: Sequence[OpenCreate]) -> UUID:
    """What a group of creates is remembered by."""
    return creates[0].job_id


async def _resolve(desk: AccountDesk, model: str, doubts: Sequence[OpenCreate]) -> None:
    """Rivals are read after the list and the owners after them.

    A task that found its owner meanwhile is then nobody else's.
    """
    looked_at = await desk.now()
    known = await _load_known(desk, model, doubts)
    listing = await list_for(desk, model, doubts, known)
    if listing is None:
        return
    faultpoint("doubt.listed")
    tasks = tuple(listing.tasks.values())
    look = Look(listing.period, doubts[0].skew, tasks, listing.is_whole, known)
    _tell_of_gaps(desk, look)
    rivals = await load_rivals(desk, model, tasks)
    await desk.apart("doubts").each(
        doubts,
        partial(_decide, desk, look, rivals, looked_at),
        key=lambda doubt: doubt.job_id,
        at_once=DOUBTS_AT_ONCE,
    )
    desk.known_skew = measure_skew(known, tasks) or desk.known_skew
    faultpoint("doubt.recorded")


def _tell_of_gaps(desk: AccountDesk, look: Look) -> None:
    """Once for each kind of gap: a list that hides what it must show settles no doubt."""
    shown = {task.task_id for task in look.tasks}
    missing = [one.task_id for one in look.known if one.task_id not in shown]
    gaps = (bool(missing), not look.is_whole)
    if any(gaps) and gaps != desk.list_gaps:
        log.warning(
            "account.list_has_gaps",
            account_id=str(desk.account_id),
            missing_count=len(missing),
            missing=missing[:3],
            is_whole=look.is_whole,
        )
    desk.list_gaps = gaps


async def _decide(
    desk: AccountDesk,
    look: Look,
    rivals: Sequence[OpenCreate],
    looked_at: datetime,
    doubt: OpenCreate,
) -> None:
    tasks = await find_unattached(desk, doubt, look.tasks)
    matches = await asyncio.gather(*(find_match(desk, task, doubt) for task in tasks))
    candidates = tuple(
        weigh(doubt, task, match, rivals) for task, match in zip(tasks, matches, strict=True)
    )
    age_by = looked_at - measure_change(look.known, look.tasks)
    news = Listed(doubt.attempt, candidates, age_by, weigh_list(doubt, look))
    await desk.judge.hear_surely(doubt.job_id, news)


async def _load_known(
    desk: AccountDesk, model: str, creates: Sequence[OpenCreate]
) -> tuple[KnownTask, ...]:
    """Tasks that a list of the creates' time must show, if it shows everything.

    Those of that time, and the next before and after it: a quiet account has no others.
    """
    since = min(create.intended_at for create in creates)
    until = max(create.until for create in creates)
    reach = desk.judge.rules.list_reach
    rows = await desk.pool.fetch(
        _LOAD_KNOWN, desk.account_id, model, since, until, reach, KNOWN_LIMIT, KNOWN_AROUND
    )
    return tuple(KnownTask(**row) for row in rows)


async def load_creates(
    desk: AccountDesk, model: str, which: str, lateness: timedelta, *values: object
) -> list[OpenCreate]:
    """Creates of the account, or of those that share its list, with the latest time of a task."""
    rows = await desk.pool.fetch(f"{_LOAD} {which}", desk.account_id, model, lateness, *values)
    return [
        OpenCreate(
            **(dict(row) | {"other_key_ids": frozenset(row["other_key_ids"]), "skew": desk.skew})
        )
        for row in rows
    ]


async def load_rivals(
    desk: AccountDesk, model: str, listed: Sequence[ListedTask]
) -> list[OpenCreate]:
    """Every create whose outcome is open, on the account and on those that share its list.

    Those are of one upstream main account: each one's tasks show in the other's list.
    """
    ids = [task.task_id for task in listed]
    return await load_creates(desk, model, RIVAL, desk.judge.rules.settle, ids)


async def list_for(
    desk: AccountDesk, model: str, creates: Sequence[OpenCreate], known: Sequence[KnownTask] = ()
) -> Listing | None:
    """All tasks of the time of the creates and of the known tasks; None when it was not looked.

    No answer, or a time of which the list tells nothing, is no empty list.
    """
    spans = [create.wide_period for create in creates]
    spans += [to_upstream_period(one.intended_at, one.answered_at, desk.skew) for one in known]
    whole = Period(min(span.since for span in spans), max(span.until for span in spans))
    period = clip(whole, await desk.now(), desk.skew)
    if period is None:
        return None
    try:
        return await list_tasks(desk.view, model, period)
    except UpstreamTrouble as error:
        log.warning("account.list_failed", account_id=str(desk.account_id), reason=str(error))
        return None


async def find_unattached(
    desk: AccountDesk, create: OpenCreate, listed: Sequence[ListedTask]
) -> list[ListedTask]:
    """The tasks that the create may have made, without those that have an owner."""
    ids = [task.task_id for task in listed]
    known = await desk.pool.fetchval(_FIND_KNOWN, ids, create.job_id)
    return pick_unattached(create, listed, set(known))


async def find_match(desk: AccountDesk, task: ListedTask, create: OpenCreate) -> Match:
    """Whose a task is by its own words; unseen while it goes on or cannot be asked for."""
    is_final = task.status.is_final
    answer = await desk.answers.find(desk.view, task.task_id) if is_final else None
    if answer is None:
        return Match.UNSEEN
    return match_content(answer, prompt=create.prompt, n=create.n)


# A key without a name may be one that was removed once, and has been set again.
_LOAD = """
select attempts.job_id, attempts.number as attempt, jobs.prompt, jobs.n, attempts.intended_at,
    coalesce(attempts.settled_at, attempts.intended_at) + $3::interval as until,
    lanes.upstream_key_id as key_id, array(
        select upstream_key_id from lanes as others
        where others.id <> lanes.id and upstream_key_id is not null
            and (others.removed_at is null or lanes.upstream_key_id is not null)
    ) as other_key_ids
from attempts
join jobs on jobs.id = attempts.job_id
join lanes on lanes.id = attempts.lane_id
"""

_UNANSWERED = """
join job_runs as runs on runs.job_id = attempts.job_id and runs.attempt = attempts.number
where runs.account_id = $1 and runs.model = $2 and runs.status = 'submitting'
    and (runs.lease_expires_at is null or runs.lease_expires_at < now())
"""

DOUBTFUL = f"""{_UNANSWERED}
    and runs.attention_code is distinct from '{REVIEW_CODE}'
order by attempts.intended_at
"""
"""Creates that nobody waits for an answer to any more."""

IN_REVIEW = f"""{_UNANSWERED}
    and runs.attention_code = '{REVIEW_CODE}'
order by attempts.intended_at
"""
"""Those of them that are a person's to decide."""

RIVAL = """
join job_runs as runs on runs.job_id = attempts.job_id and runs.attempt = attempts.number
where runs.model = $2 and runs.status = 'submitting' and (runs.account_id = $1 or exists (
    select from attempts as shown
    where shown.upstream_task_id = any($4) and shown.account_id = runs.account_id
))
"""

GIVEN_UP = """
where attempts.account_id = $1 and jobs.model = $2 and attempts.outcome = 'absent'
    and attempts.error_code in ('not_created', 'given_up')
    and attempts.settled_at > now() - $3::interval - $4::interval
order by attempts.intended_at
"""
"""Settled as having made nothing, by the list or on a person's word."""

_ANSWERED = """
select attempts.upstream_task_id as task_id, attempts.intended_at,
    attempts.settled_at as answered_at
from attempts join jobs on jobs.id = attempts.job_id and jobs.model = $2
left join job_runs as runs on runs.job_id = attempts.job_id and runs.attempt = attempts.number
where attempts.account_id = $1 and attempts.outcome = 'accepted'
    and coalesce(attempts.error_code, '') not in ('task_lost', 'given_up')
    and runs.attention_code is distinct from 'task_unknown'
    and attempts.intended_at > now() - $5::interval
"""

_LOAD_KNOWN = f"""
(
    {_ANSWERED} and attempts.intended_at < $3::timestamptz
    order by attempts.intended_at desc limit $7
)
union all
(
    {_ANSWERED} and attempts.intended_at >= $3 and attempts.intended_at < $4::timestamptz
    order by attempts.intended_at limit $6
)
union all
(
    {_ANSWERED} and attempts.intended_at >= $4
    order by attempts.intended_at limit $7
)
"""

_FIND_KNOWN = """
select array(
    select upstream_task_id from attempts where upstream_task_id = any($1)
    union
    select upstream_task_id from orphans
    where upstream_task_id = any($1) and (state <> 'foreign' or job_id = $2)
)
"""
