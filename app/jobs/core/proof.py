"""What a look at the upstream's list is worth as proof that a create made no task (pure).

A list that is empty, stale or filtered by another clock looks like one that shows there is no
task. So a look counts only if it shows the tasks that are known to be there: those that the
upstream itself answered creates of the same time with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.dashscope.payloads import ListedTask
from app.dashscope.upstream_clock import LEAD_LIMIT
from app.jobs.core.candidates import CLOCK_MARGIN, ClockSkew, OpenCreate, Period
from app.jobs.core.state import ListProof


@dataclass(frozen=True, slots=True)
class KnownTask:
    """A task whose id was the answer to a create of ours; times by the database's clock."""

    task_id: str
    intended_at: datetime
    answered_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """One reading of the list."""

    period: Period
    """What was asked for, by the upstream's clock."""
    skew: ClockSkew
    """How that clock was taken to differ from the database's."""
    tasks: tuple[ListedTask, ...]
    is_whole: bool
    """Whether every page came and every row could be read."""
    known: tuple[KnownTask, ...]
    """The tasks that must show."""


def weigh_list(create: OpenCreate, look: Look) -> ListProof:
    """Whether a create whose task the look does not show can be said to have made none."""
    shown = {task.task_id for task in look.tasks}
    if (
        not look.is_whole
        or not look.period.covers(create.period)
        or look.period.since > create.wide_period.since
        or not look.known
        or any(known.task_id not in shown for known in look.known)
        or not is_covered(measure_skew(look.known, look.tasks), look.skew)
    ):
        return ListProof.NONE
    fresh_from = create.until + measure_change(look.known, look.tasks)
    is_fresh = any(known.intended_at >= fresh_from for known in look.known)
    # Without one from before it is not known whether a clock was set, and which is the younger.
    is_dated = any(known.intended_at < create.intended_at for known in look.known)
    return ListProof.FRESH if is_fresh and is_dated else ListProof.KNOWN


def measure_skew(known: Sequence[KnownTask], tasks: Sequence[ListedTask]) -> ClockSkew | None:
    """The clock that dates the list's tasks against ours, by tasks whose creation we dated too.

    Each was made between its intent and its answer. None without any. Where they contradict each
    other the clock was set meanwhile, and all that they say is kept, but for what no clock shows.
    """
    bounds = _find_bounds(known, tasks)
    if not bounds:
        return None
    least, most = max(low for low, _ in bounds), min(high for _, high in bounds)
    if least > most:
        least, most = min(low for low, _ in bounds), max(high for _, high in bounds)
    return ClockSkew(least, most)


def measure_change(known: Sequence[KnownTask], tasks: Sequence[ListedTask]) -> timedelta:
    """By how much one of the clocks was set between the known tasks, at least."""
    bounds = _find_bounds(known, tasks)
    nothing = timedelta(0)
    if not bounds:
        return nothing
    return max(max(low for low, _ in bounds) - min(high for _, high in bounds), nothing)


def _find_bounds(
    known: Sequence[KnownTask], tasks: Sequence[ListedTask]
) -> list[tuple[timedelta, timedelta]]:
    """Between what the upstream's clock was ahead of ours, by each task that both have dated."""
    made_at = {task.task_id: task.gmt_create for task in tasks}
    return [
        (made - one.answered_at, made - one.intended_at)
        for one in known
        if (made := made_at.get(one.task_id)) is not None
        and abs(made - one.answered_at) <= LEAD_LIMIT
    ]


def is_covered(measured: ClockSkew | None, assumed: ClockSkew) -> bool:
    """Whether windows that were made for the assumed skew hold for the measured one."""
    if measured is None:
        return False
    nothing = timedelta(0)
    too_early = assumed.least - measured.most
    too_late = measured.least - assumed.most
    return max(too_early, too_late, nothing) <= CLOCK_MARGIN
