"""Which listed tasks a create in doubt may have made, and who else may have (pure)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.dashscope.payloads import ListedTask
from app.jobs.core.state import Candidate, Match

_LAST = datetime.max.replace(tzinfo=UTC)

CLOCK_MARGIN = timedelta(seconds=60)
"""How far the upstream's clock may differ from the database's beyond what was measured."""
SET_MARGIN = timedelta(minutes=10)
"""How far either clock may have been set meanwhile: a task from so near rules absence out."""


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """By how much the upstream's clock is ahead of the database's: at least, and at most."""

    least: timedelta = timedelta(0)
    most: timedelta = timedelta(0)

    def including(self, other: "ClockSkew | None") -> "ClockSkew":
        """What holds for either."""
        if other is None:
            return self
        return ClockSkew(min(self.least, other.least), max(self.most, other.most))


@dataclass(frozen=True, slots=True)
class Period:
    """A span of the upstream's clock, both ends included."""

    since: datetime
    until: datetime

    def covers(self, other: "Period") -> bool:
        return self.since <= other.since and other.until <= self.until

    def contains(self, moment: datetime) -> bool:
        return self.since <= moment <= self.until


def to_upstream_period(since: datetime, until: datetime, skew: ClockSkew) -> Period:
    """Where the upstream's clock may have stood in that time of the database's."""
    return Period(since + skew.least - CLOCK_MARGIN, until + skew.most + CLOCK_MARGIN)


@dataclass(frozen=True, slots=True)
class OpenCreate:
    """A create whose outcome is not known, or was given up; times by the database's clock."""

    job_id: UUID
    attempt: int
    prompt: str = field(repr=False)
    n: int
    intended_at: datetime
    until: datetime
    """When its task may appear at the latest."""
    key_id: str | None
    """The upstream's own name of the API key it went out with, once that is learned."""
    other_key_ids: frozenset[str] = frozenset()
    """The names of all other keys of ours that are learned."""
    skew: ClockSkew = ClockSkew()

    @property
    def period(self) -> Period:
        """When its task may have been made, by the upstream's clock."""
        return to_upstream_period(self.intended_at, self.until, self.skew)

    @property
    def wide_period(self) -> Period:
        """The same, if one of the clocks was set meanwhile."""
        return Period(self.period.since - SET_MARGIN, self.period.until + SET_MARGIN)

    def may_have_made(self, task: ListedTask) -> bool:
        """Whether time and key allow it; an unnamed key may have any but another's.

        A task whose time cannot be read may be of any time.
        """
        is_in_time = task.gmt_create is None or self.period.contains(task.gmt_create)
        return is_in_time and self._may_be_its_key(task.api_key_id)

    def cannot_rule_out(self, task: ListedTask) -> bool:
        """Whether time and key allow it even where a clock was set meanwhile."""
        is_near = task.gmt_create is None or self.wide_period.contains(task.gmt_create)
        return is_near and self._may_be_its_key(task.api_key_id)

    def _may_be_its_key(self, key_id: str | None) -> bool:
        if key_id is None:
            return True
        return key_id not in self.other_key_ids if self.key_id is None else key_id == self.key_id


def group_by_window(creates: Sequence[OpenCreate]) -> list[list[OpenCreate]]:
    """Creates whose tasks may have been made at the same time, together."""
    groups: list[list[OpenCreate]] = []
    latest: datetime | None = None
    for create in sorted(creates, key=lambda create: create.intended_at):
        if latest is None or create.intended_at > latest:
            groups.append([])
            latest = create.until
        groups[-1].append(create)
        latest = max(latest, create.until)
    return groups


def pick_unattached(
    create: OpenCreate, listed: Sequence[ListedTask], known: Collection[str]
) -> list[ListedTask]:
    """The tasks that the create cannot be said not to have made, nobody's yet, oldest first."""
    possible = [
        task for task in listed if task.task_id not in known and create.cannot_rule_out(task)
    ]
    return sorted(possible, key=lambda task: (task.gmt_create or _LAST, task.task_id))


def weigh(
    create: OpenCreate, task: ListedTask, match: Match, rivals: Sequence[OpenCreate]
) -> Candidate:
    """A task as a candidate: contested where another open create may have made it as well.

    Words tell rivals apart once the task can be read and they asked for something else. One that
    is the create's only if a clock was set is never taken for its own, nor for another's.
    """
    if not create.may_have_made(task) and match in (Match.UNSEEN, Match.SAME):
        match = Match.UNCLEAR
    is_contested = any(
        (rival.job_id, rival.attempt) != (create.job_id, create.attempt)
        and rival.may_have_made(task)
        and (match is not Match.SAME or (rival.prompt, rival.n) == (create.prompt, create.n))
        for rival in rivals
    )
    return Candidate(task.task_id, task.request_id, match, is_contested)
